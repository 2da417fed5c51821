//! The form that a call comes in, and the names that each action knows.

use std::collections::BTreeMap;

use super::Refusal;

/// The parameters of a call by their names, as `TagSpecification.1.Tag.2.Key`.
pub type Form = BTreeMap<String, String>;

/// Reads a form-encoded body.
pub(crate) fn parse(body: &str) -> Form {
    let pairs = body.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How actions read a [`Form`].
pub(crate) trait Read {
    /// A parameter, where it is given and not empty.
    fn text(&self, name: &str) -> Option<&str>;
    /// A parameter that must be there.
    fn needed(&self, name: &str) -> Result<&str, Refusal>;
    /// A number, where it is given.
    fn number(&self, name: &str) -> Result<Option<u32>, Refusal>;
    /// Whether it is `true`.
    fn flag(&self, name: &str) -> bool;
    /// `name.1`, `name.2`, … in this order.
    fn list(&self, name: &str) -> Vec<String>;
    /// `prefix.N.Key` and `prefix.N.Value`.
    fn tags(&self, prefix: &str) -> Vec<(String, String)>;
    /// The tags that `TagSpecification` has for this type of resource.
    fn tag_specification(&self, resource: &str) -> Vec<(String, String)>;
    /// `Filter.N.Name` with its values.
    fn filters(&self) -> Vec<(String, Vec<String>)>;
}

impl Read for Form {
    fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn needed(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name).ok_or_else(|| {
            let message = format!("The request must contain the parameter {name}");
            Refusal::new("MissingParameter", message)
        })
    }

    fn number(&self, name: &str) -> Result<Option<u32>, Refusal> {
        let Some(value) = self.text(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            let message = format!("Value ({value}) for parameter {name} is invalid.");
            Refusal::new("InvalidParameterValue", message)
        })
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    fn list(&self, name: &str) -> Vec<String> {
        (1..).map_while(|n| self.get(&format!("{name}.{n}")).cloned()).collect()
    }

    fn tags(&self, prefix: &str) -> Vec<(String, String)> {
        let tag = |n: u32| {
            let key = self.get(&format!("{prefix}.{n}.Key"))?.clone();
            Some((key, self.get(&format!("{prefix}.{n}.Value")).cloned().unwrap_or_default()))
        };
        (1..).map_while(tag).collect()
    }

    fn tag_specification(&self, resource: &str) -> Vec<(String, String)> {
        let types = (1..)
            .map_while(|n| Some((n, self.get(&format!("TagSpecification.{n}.ResourceType"))?)));
        types
            .filter(|(_, kind)| *kind == resource)
            .flat_map(|(n, _)| self.tags(&format!("TagSpecification.{n}.Tag")))
            .collect()
    }

    fn filters(&self) -> Vec<(String, Vec<String>)> {
        let filter = |n: u32| {
            let name = self.get(&format!("Filter.{n}.Name"))?.clone();
            Some((name, self.list(&format!("Filter.{n}.Value"))))
        };
        (1..).map_while(filter).collect()
    }
}

/// The parameters that the service's model gives each action; a list's number
/// is left out, and so is what is in a structure.
const KNOWN: [(&str, &str); 18] = [
    ("DescribeVolumes", "VolumeId IncludeManagedResources Filter NextToken MaxResults"),
    ("DescribeInstances", "InstanceId IncludeManagedResources Filter NextToken MaxResults"),
    ("DescribeSnapshots", "MaxResults NextToken Owner RestorableBy SnapshotId Filter"),
    (
        "CreateSnapshots",
        "Description InstanceSpecification OutpostArn TagSpecification CopyTagsFromSource Location",
    ),
    ("CreateSnapshot", "Description OutpostArn VolumeId TagSpecification Location"),
    ("DeleteSnapshot", "SnapshotId"),
    (
        "CopySnapshot",
        "Description DestinationOutpostArn DestinationRegion Encrypted KmsKeyId PresignedUrl \
         SourceRegion SourceSnapshotId TagSpecification CompletionDurationMinutes \
         DestinationAvailabilityZone",
    ),
    (
        "CreateVolume",
        "AvailabilityZone AvailabilityZoneId Encrypted Iops KmsKeyId OutpostArn Size SnapshotId \
         VolumeType TagSpecification MultiAttachEnabled Throughput ClientToken \
         VolumeInitializationRate Operator",
    ),
    ("AttachVolume", "Device InstanceId VolumeId EbsCardIndex"),
    ("DetachVolume", "Device Force InstanceId VolumeId"),
    ("DeleteVolume", "VolumeId"),
    ("CreateTags", "ResourceId Tag"),
    ("DeleteTags", "ResourceId Tag"),
    ("LockSnapshot", "SnapshotId LockMode CoolOffPeriod LockDuration ExpirationDate"),
    ("UnlockSnapshot", "SnapshotId"),
    ("EnableFastSnapshotRestores", "AvailabilityZone AvailabilityZoneId SourceSnapshotId"),
    ("DescribeTags", "Filter MaxResults NextToken"),
    ("DescribeAvailabilityZones", "ZoneName ZoneId AllAvailabilityZones Filter"),
];

/// Refuses an action or a parameter that the service does not have.
pub(crate) fn check_known(action: &str, form: &Form) -> Result<(), Refusal> {
    let Some((_, known)) = KNOWN.iter().find(|(name, _)| *name == action) else {
        let message = format!("The action {action} is not valid for this web service.");
        return Err(Refusal::new("InvalidAction", message));
    };
    let known: Vec<&str> = known.split_whitespace().collect();
    for name in form.keys() {
        let first = name.split('.').next().unwrap_or_default();
        if !known.contains(&first) && !["Action", "Version", "DryRun"].contains(&first) {
            let message = format!("The parameter {name} is not recognized");
            return Err(Refusal::new("UnknownParameter", message));
        }
    }
    match form.text("Version") {
        Some("2016-11-15") => Ok(()),
        other => Err(Refusal::new(
            "NoSuchVersion",
            format!(
                "The requested version ({}) of service AmazonEC2 does not exist",
                other.unwrap_or("")
            ),
        )),
    }
}
