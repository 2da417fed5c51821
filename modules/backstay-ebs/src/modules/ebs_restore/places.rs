//! Where the cluster's directories are on the restored volumes: what `cluster_restore` is told.

use std::path::PathBuf;

use ansible::reply::object;
use serde_json::{Map, Value, json};
use snapshot::Role;
use snapshot_ebs::RestoreOrder;

pub(super) fn of(order: &RestoreOrder) -> Map<String, Value> {
    let (mut data, mut wal) = (None, None);
    let (mut tablespaces, mut mapping) = (Map::new(), Map::new());
    for (filesystem, point) in order.filesystems() {
        for (cover, directory) in filesystem.covers.iter().zip(&filesystem.directories) {
            let place: PathBuf = point.join(directory);
            match cover.role {
                Role::DataDirectory => data = Some(place),
                Role::Wal => wal = Some(place),
                Role::Tablespace(oid) => {
                    if cover.path != place {
                        mapping.insert(cover.path.display().to_string(), json!(place));
                    }
                    tablespaces.insert(oid.to_string(), json!(place));
                }
            }
        }
    }
    object(json!({
        "data_directory": data,
        "wal_directory": wal,
        "tablespaces": tablespaces,
        "tablespace_mapping": mapping,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapshot::{ClusterFilesystem, Source};
    use snapshot_ebs::{BackupTags, NewVolume, Piece};
    use std::time::Duration;

    #[test]
    fn directories_are_where_their_filesystems_are_mounted_now() {
        let filesystem = |covers: Vec<Source>, directories: &[&str]| ClusterFilesystem {
            mount_point: "/old".into(),
            device: "/dev/nvme1n1".into(),
            fstype: "ext4".into(),
            uuid: None,
            label: None,
            options: vec![],
            layers: vec![],
            volumes: vec!["vol-1".into()],
            covers,
            directories: directories.iter().map(PathBuf::from).collect(),
        };
        let piece = |filesystem, point: &str| Piece {
            snapshot_id: "snap-1".into(),
            account: None,
            gibibytes: None,
            was: (None, None, None),
            filesystems: vec![(filesystem, point.into())],
        };
        let data = filesystem(
            vec![
                Source::new(Role::DataDirectory, "/old/main"),
                Source::new(Role::Wal, "/old/main/pg_wal"),
            ],
            &["main", "main/pg_wal"],
        );
        let space = filesystem(vec![Source::new(Role::Tablespace(16400), "/ts/t")], &["t"]);
        let order = RestoreOrder {
            backup: BackupTags {
                cluster: "main".into(),
                backup_id: "b".into(),
                system_identifier: "7".into(),
                start_lsn: "0/1".into(),
                session: "main.b".into(),
            },
            restore_id: "r".into(),
            instance_id: "i".into(),
            zone: "z".into(),
            pieces: vec![piece(data, "/new"), piece(space, "/new/ts")],
            like: NewVolume::default(),
            mount_options: None,
            device_names: vec![],
            patience: Duration::ZERO,
            keep_on_failure: false,
        };
        let places = of(&order);
        assert_eq!(places["data_directory"], json!("/new/main"));
        assert_eq!(places["wal_directory"], json!("/new/main/pg_wal"));
        assert_eq!(places["tablespaces"], json!({"16400": "/new/ts/t"}));
        assert_eq!(places["tablespace_mapping"], json!({"/ts/t": "/new/ts/t"}));
    }
}
