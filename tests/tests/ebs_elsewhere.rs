//! EC2 called from another host than the database's, which needs no credentials then: by the collection's playbook.

use backstay_tests::{Ansible, Cloud, Core, Volumes};
use serde_json::json;

#[test]
fn another_host_takes_the_snapshots_and_waits_for_them() {
    if !Volumes::possible() {
        return;
    }
    let cloud = Cloud::of(16);
    let backup = &cloud.scene.backup;
    let environment = cloud.volumes.variables();
    let ansible = environment
        .iter()
        .fold(Ansible::local(Core::Newest), |ansible, (name, value)| ansible.env(name, value));
    let mut options = backup.login().clone();
    // It is this machine again, but it does not know the session.
    let elsewhere = cloud.volumes.mount_point("elsewhere");
    options["state_directory"] = json!(format!(
        "{{{{ (ansible_delegated_vars | default({{}})) | ternary('{}', '{}') }}}}",
        elsewhere.display(),
        backup.state_directory().display()
    ));
    let variables = json!({
        "backstay_repository": backup.repository(),
        "backstay_options": options,
        "backstay_backup_id": "elsewhere",
        "backstay_api_host": "localhost",
        "backstay_api_repository": backup.repository(),
    });
    let run = ansible.playbook("backstay.postgresql.ebs_snapshot_backup", &variables).ok();
    assert!(run.output.contains("backup elsewhere is complete"), "{}", run.output);
    assert_eq!(cloud.ec2().calls("CreateSnapshots").len(), 1);
    assert!(!elsewhere.join("sessions").exists());

    let found = &run.task("Find the volumes").result;
    assert_eq!(found["instance"]["region"], json!("eu-central-1"), "{found:#}");
    assert_eq!(found["session"], json!("main.elsewhere"));
    let manifest = cloud.scene.manifest("elsewhere");
    assert_eq!(manifest["state"], json!("complete"));
    assert_eq!(manifest["snapshots"].as_array().map(Vec::len), Some(3));
}

/// Ansible takes the database host for unreachable then, and would run no rescue.
#[test]
fn an_api_host_that_cannot_be_reached_leaves_no_backup_mode() {
    if !Volumes::possible() {
        return;
    }
    let cloud = Cloud::of(17);
    let variables = cloud.playbook_variables(&json!({
        "backstay_api_host": "nobody.invalid",
        "backstay_backup_id": "b1",
    }));
    let run = cloud.ansible().playbook("backstay.postgresql.ebs_snapshot_backup", &variables);
    assert_eq!(run.status, 2, "{}", run.output);
    let told = run.task("Fail with the first error").text("msg").to_owned();
    assert!(told.contains("nobody.invalid cannot be reached"), "{told}");
    assert_eq!(run.task("Leave backup mode").result["was_in_backup_mode"], json!(true));
    cloud.scene.wait_until_left();
    assert_eq!(cloud.scene.manifest("b1")["state"], json!("failed"));
}
