#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: ebs_restore
short_description: Makes volumes from the EBS snapshots of a backup, and mounts them
version_added: 0.1.0
description:
  - Makes a volume from each snapshot of a backup, attaches it to the instance, waits for its device by the serial number and mounts its file systems.
  - Before anything is mounted, all file systems found are compared with those in the manifest, by type and UUID. A mount point that lies in another is
    mounted after it.
  - M(backstay.postgresql.cluster_restore) with C(source=in_place) goes on from there.
  - When a step fails, everything that was made is undone again, so that nothing stays attached or is paid for. What could not be undone is returned in
    RV(ignore:kept).
  - A volume is recognised by its tags. Run again, the task goes on with the volumes that are there.
  - With O(state=absent) the volumes of a restore are unmounted, detached and deleted.
author:
  - The backstay authors (@backstay)
extends_documentation_fragment:
  - backstay.postgresql.attributes
  - backstay.postgresql.login
  - backstay.postgresql.inside
  - backstay.postgresql.state
  - backstay.postgresql.aws
options:
  repository:
    description:
      - The repository that the backup is in, either a C(file://) URL or an absolute path on the target.
    type: str
    required: true
  cluster:
    description:
      - Name of the database cluster's folder in the repository.
    type: str
    default: main
  backup_id:
    description:
      - Name of the backup.
      - When not given, it is the newest one that is complete.
    type: str
  instance_id:
    description:
      - Id of the instance, which must be the target. If the metadata service answers and names another instance, the task fails.
      - When not given, the metadata service of the instance is asked.
    type: str
  zone:
    description:
      - Availability zone of the volumes, which must be that of the instance.
      - When not given, it is that of the instance.
    type: str
  volume_type:
    description:
      - Type of the volumes.
      - When not given, it is the type of the volume that the snapshot is of.
    type: str
  iops:
    description:
      - I/O operations a second of each volume.
      - When not given, they are those of the volume that the snapshot is of, if it is of the same type.
    type: int
  throughput:
    description:
      - Throughput of each volume in MiB/s.
      - When not given, it is that of the volume that the snapshot is of, if it is of the same type.
    type: int
  kms_key_id:
    description:
      - Key that the volumes are encrypted with, by id, alias or ARN.
    type: str
  encrypted:
    description:
      - Whether the volumes are encrypted. Those from encrypted snapshots always are.
    type: bool
  initialization_rate:
    description:
      - Rate in MiB/s at which EBS fetches the blocks of the snapshot, from 100 to 300. It costs by the size of the snapshot.
      - Without it a block is fetched when it is first read, and the restored server is slow until then.
    type: int
  mount_points:
    description:
      - Where to mount, by the mount point that the file system had.
      - A file system that is not named here is mounted where it was, which must be an empty directory and no mount point.
    type: dict
  mount_options:
    description:
      - Options to mount with, instead of those that the file system had.
      - C(nouuid) is added for XFS where it is needed, as on the host that the backup is of.
    type: list
    elements: str
  device_names:
    description:
      - Names to attach the volumes under, in the words of EC2.
      - When not given, those from C(/dev/sdf) to C(/dev/sdp) that are free.
    type: list
    elements: str
  tags:
    description:
      - More tags for the volumes.
    type: dict
  restore_id:
    description:
      - Name of this restore, of at most 36 characters. Volumes that have it in their tags are this restore's own.
      - When not given, it is made of backup, instance and mount points.
    type: str
  state:
    description:
      - With V(absent) the volumes of O(restore_id) are unmounted, detached and deleted. No server may run on them.
    type: str
    choices:
      - present
      - absent
    default: present
  keep_on_failure:
    description:
      - Whether volumes stay as they are when a step fails.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds that each volume may take to become available, and its device to appear.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - A file system over several volumes (LVM, md, btrfs) is refused. Attach volumes made from the snapshots by hand, assemble and mount them,
    and go on with M(backstay.postgresql.cluster_restore).
  - Needs root on the target (C(become=true)), and the policy C(aws/iam-restore.json) of this collection.
  - Nothing is written to C(/etc/fstab). RV(ignore:filesystems) has what it takes.
seealso:
  - module: backstay.postgresql.cluster_restore
  - module: backstay.postgresql.ebs_snapshot_wait
"""

EXAMPLES = r"""
- name: Bring the volumes of the newest backup back, beside the server
  backstay.postgresql.ebs_restore:
    repository: /var/backups/postgresql
    mount_points:
      /srv/postgresql: /srv/restored
      /srv/fast: /srv/restored-fast
  become: true
  register: restored

- name: Recover the database cluster on them, and start it
  backstay.postgresql.cluster_restore:
    repository: /var/backups/postgresql
    source: in_place
    data_directory: "{{ restored.data_directory }}"
    wal_directory: "{{ restored.wal_directory }}"
    tablespace_mapping: "{{ restored.tablespace_mapping }}"
    settings:
      port: 5433
    start: true
  become: true

- name: Delete the volumes when they are no longer needed
  backstay.postgresql.ebs_restore:
    repository: /var/backups/postgresql
    restore_id: "{{ restored.restore_id }}"
    state: absent
  become: true
"""

RETURN = r"""
restore_id:
  description: Name of this restore.
  type: str
  returned: success
  sample: 5f0c2a4e9d7b4c31
backup_id:
  description: Name of the backup in the repository.
  type: str
  returned: when O(state=present), not in check mode
  sample: 20261121T031500Z-3f9c
volumes:
  description: The volumes. With O(state=absent) only their ids.
  type: list
  elements: dict
  returned: success
  contains:
    volume_id:
      description: Id of the volume.
      type: str
      returned: success, not in check mode
      sample: vol-0123456789abcdef0
    snapshot_id:
      description: Id of the snapshot that it was made from.
      type: str
      returned: success
      sample: snap-0a1b2c3d4e5f67890
    attached_as:
      description: The name that it is attached under, in the words of EC2.
      type: str
      returned: success, not in check mode
      sample: /dev/sdf
    device:
      description: Its device on the target.
      type: str
      returned: success, not in check mode
      sample: /dev/nvme2n1
    mount_points:
      description: Where its file systems would be mounted.
      type: list
      elements: str
      returned: in check mode
      sample: [/srv/restored]
filesystems:
  description: The file systems, in the order in which they are to be mounted.
  type: list
  elements: dict
  returned: when O(state=present), not in check mode
  contains:
    mount_point:
      description: Where it is mounted.
      type: str
      returned: success
      sample: /srv/restored
    original:
      description: Where it was mounted when the backup was taken.
      type: str
      returned: success
      sample: /srv/postgresql
    device:
      description: Its device.
      type: str
      returned: success
      sample: /dev/nvme2n1
    fstype:
      description: Its type.
      type: str
      returned: success
      sample: xfs
    uuid:
      description: Its UUID.
      type: str
      returned: success
      sample: 0f0e7a2b-6c53-4a51-9f0b-3f6f2f1c8d11
    options:
      description: The options to mount it with.
      type: list
      elements: str
      returned: success
      sample: [noatime, nouuid]
data_directory:
  description: Where the data directory is now.
  type: str
  returned: when O(state=present)
  sample: /srv/restored/pgdata
wal_directory:
  description: Where C(pg_wal) is now. It is what M(backstay.postgresql.cluster_restore) takes, so that WAL is on its own volume again.
  type: str
  returned: when O(state=present)
  sample: /srv/restored/pgdata/pg_wal
tablespaces:
  description: Where the tablespaces are now, by their object id.
  type: dict
  returned: when O(state=present)
  sample: {"16385": "/srv/restored-fast/pg"}
tablespace_mapping:
  description: Where the tablespaces are now, by where they were. It is what M(backstay.postgresql.cluster_restore) takes.
  type: dict
  returned: when O(state=present)
  sample: {"/srv/fast/pg": "/srv/restored-fast/pg"}
mount_points:
  description: Where the volumes were mounted on the target.
  type: list
  elements: str
  returned: when O(state=absent)
  sample: [/srv/restored]
restored_before:
  description:
    - Whether an earlier run had finished this restore.
    - Somebody may have written to the volumes since, so a playbook should not remove them when a later step fails.
  type: bool
  returned: when O(state=present), not in check mode
  sample: false
kept:
  description: Ids of the volumes that a failure left, and that cost until you delete them.
  type: list
  elements: str
  returned: failure, and when O(state=present)
  sample: []
mounted:
  description: Mount points of those volumes that are still in use.
  type: list
  elements: str
  returned: failure
  sample: []
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: snapshot_mismatch
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Is the option region the one that the backup was taken in?"]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
"""
