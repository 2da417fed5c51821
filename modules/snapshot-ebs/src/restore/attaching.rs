//! Volumes become devices of the instance.

use std::collections::BTreeSet;

use super::{Steps, proof, wishes};
use crate::{EbsError, Filter, Volume};

/// Names under which volumes can be attached, in the order in which they are tried.
pub(super) fn free_names(steps: &Steps<'_>) -> Result<Vec<String>, EbsError> {
    let instance = Filter::Instance(steps.order.instance_id.clone());
    let attached = steps.ec2.describe_volumes(&[instance])?;
    let used: BTreeSet<String> = attached
        .iter()
        .flat_map(|volume| &volume.attachments)
        .map(|attachment| attachment.device.clone())
        .collect();
    Ok(wishes::free_names(&steps.order.device_names, &used))
}

/// The name under which the volume is attached, and whether that was done now.
pub(super) fn attach(
    steps: &Steps<'_>,
    volume: &Volume,
    names: &mut impl Iterator<Item = String>,
) -> Result<(String, bool), EbsError> {
    if let Some(device) = attached_as(steps, volume)? {
        return Ok((device, false));
    }
    loop {
        let device = names.next().ok_or_else(|| {
            EbsError::Restore(
                "no device name is free on the instance for another volume; give device_names"
                    .to_owned(),
            )
        })?;
        match steps.ec2.attach_volume(&volume.id, &steps.order.instance_id, &device) {
            Ok(_) => return Ok((device, true)),
            // An answer was lost, and the SDK asked again.
            Err(error) if error.code() == Some("VolumeInUse") => {
                let now = steps.ec2.volume(&volume.id)?;
                let attached = now.as_ref().map(|now| attached_as(steps, now)).transpose()?;
                return attached.flatten().map(|device| (device, true)).ok_or(error);
            }
            // A volume that EC2 does not list, as of the instance store, has this name.
            Err(error) if is_taken(&error, &device) => {}
            Err(error) => return Err(error),
        }
    }
}

fn attached_as(steps: &Steps<'_>, volume: &Volume) -> Result<Option<String>, EbsError> {
    proof::expect_here(volume, &steps.order.instance_id)?;
    Ok(volume.attachments.first().map(|there| there.device.clone()))
}

/// Whether EC2 refused the name alone: "Attachment point /dev/sdf is already in use".
fn is_taken(error: &EbsError, device: &str) -> bool {
    let EbsError::Refused { code, message, .. } = error else { return false };
    code == "InvalidParameterValue" && message.contains(device) && message.contains("in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_use_is_told_from_other_refusals() {
        let refused = |code: &str, message: &str| EbsError::Refused {
            action: "AttachVolume",
            code: code.into(),
            message: message.into(),
        };
        let text =
            "Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use";
        assert!(is_taken(&refused("InvalidParameterValue", text), "/dev/sdf"));
        assert!(!is_taken(&refused("InvalidParameterValue", text), "/dev/sdg"));
        assert!(!is_taken(&refused("IncorrectState", text), "/dev/sdf"));
    }
}
