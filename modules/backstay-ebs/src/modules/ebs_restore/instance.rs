//! The instance that volumes are attached to: this host, whose devices and mounts are worked with.

use ansible::Failure;
use frame::Explain;
use host::Instance;

/// An instance, and what is known of it.
pub(super) struct Here {
    /// `i-…`.
    pub(super) id: String,
    /// Its availability zone, if its metadata service said so.
    pub(super) zone: Option<String>,
    /// Its region, likewise.
    pub(super) region: Option<String>,
}

/// The instance that the option `instance_id` names, or that the metadata service says this host is. Where both speak,
/// they must agree.
pub(super) fn find(given: Option<&str>) -> Result<Here, Failure> {
    settle(given, Instance::ask().map_err(|error| error.explain()))
}

fn settle(given: Option<&str>, asked: Result<Instance, Failure>) -> Result<Here, Failure> {
    match (given, asked) {
        (Some(given), Ok(this)) if given != this.id => Err(Failure::invalid(format!(
            "option \"instance_id\" is \"{given}\", but this host is instance \"{}\"",
            this.id
        ))
        .hint(
            "The volumes are mounted where the task runs: run it on that instance, or leave instance_id out.",
        )),
        (_, Ok(this)) => {
            Ok(Here { id: this.id, zone: Some(this.zone), region: Some(this.region) })
        }
        // Nobody answers in a container whose hop limit is 1, for example.
        (Some(given), Err(_)) => Ok(Here { id: given.to_owned(), zone: None, region: None }),
        (None, Err(failure)) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_another_instance_are_not_mounted_here() {
        let this = || {
            Ok(Instance {
                id: "i-1".into(),
                region: "r".into(),
                zone: "r-a".into(),
                account: "1".into(),
            })
        };
        let silent = || Err(Failure::invalid("nobody answers"));
        assert_eq!(settle(None, this()).unwrap().zone.as_deref(), Some("r-a"));
        assert_eq!(settle(Some("i-1"), this()).unwrap().region.as_deref(), Some("r"));
        let failure = settle(Some("i-2"), this()).err().unwrap();
        assert_eq!(
            failure.message,
            "option \"instance_id\" is \"i-2\", but this host is instance \"i-1\""
        );
        let given = settle(Some("i-2"), silent()).unwrap();
        assert_eq!((given.id.as_str(), given.zone), ("i-2", None));
        assert_eq!(settle(None, silent()).err().unwrap().message, "nobody answers");
    }
}
