//! `state: absent`: a restore's volumes are unmounted, detached and deleted.

use std::time::Duration;

use ansible::{Failure, Options, Preview, Returns, Task};
use host::Sysfs;
use serde_json::{Value, json};
use snapshot_ebs::{AwsOptions, Ec2, Removable, Removal, removable, remove};

use crate::aws;

/// What is to be removed.
pub(crate) struct EbsRemoval {
    aws: AwsOptions,
    restore_id: String,
    cluster: String,
    instance_id: Option<String>,
    patience: Duration,
}

/// What there is of it.
pub(crate) struct Plan {
    ec2: Ec2,
    removal: Removal,
    found: Removable,
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let volumes: Vec<Value> =
            self.found.volumes.iter().map(|volume| json!({"volume_id": volume.id})).collect();
        let values = json!({
            "restore_id": self.removal.restore_id,
            "volumes": volumes,
            "mount_points": self.found.mount_points,
        });
        Returns::new(!self.found.volumes.is_empty(), values)
    }
}

impl Task for EbsRemoval {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let restore_id = super::restore_id(options)?.ok_or_else(|| {
            Failure::invalid("state \"absent\" needs the option \"restore_id\"")
                .hint("It is what ebs_restore returned.")
        })?;
        Ok(EbsRemoval {
            aws: aws::read(options)?,
            restore_id,
            cluster: options.text_or_default("cluster"),
            instance_id: options.text("instance_id").map(str::to_owned),
            patience: Duration::from_secs(options.number("wait_timeout")?.unwrap_or_default()),
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let mut aws = self.aws.clone();
        let here = super::instance::find(self.instance_id.as_deref())?;
        aws.region = aws.region.or(here.region);
        let ec2 = aws::connect(&aws)?;
        let removal = Removal {
            restore_id: self.restore_id.clone(),
            cluster: self.cluster.clone(),
            instance_id: here.id,
            patience: self.patience,
        };
        let found =
            removable(&ec2, &removal, &Sysfs::default()).map_err(|error| aws::explain(&error))?;
        Ok(Plan { ec2, removal, found })
    }

    fn apply(&self, plan: Plan) -> Result<Returns, Failure> {
        let Plan { ec2, removal, found } = &plan;
        let sysfs = Sysfs::default();
        remove(ec2, removal, found, &sysfs).map_err(|error| {
            let left = removable(ec2, removal, &sysfs).unwrap_or_else(|_| found.clone());
            let kept: Vec<_> = left.volumes.iter().map(|volume| &volume.id).collect();
            aws::explain(&error)
                .value("kept", json!(kept))
                .value("mounted", json!(left.mount_points))
        })?;
        Ok(plan.preview())
    }
}
