#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: ebs_snapshot
short_description: Takes EBS snapshots of all volumes of a database cluster that is in backup mode
version_added: 0.1.0
description:
  - Takes one set of EBS snapshots with one call, C(CreateSnapshots), of all volumes that the data directory, C(pg_wal) and the tablespaces are on.
    The other volumes of the instance are excluded.
  - Returns as soon as the snapshots are V(pending). That is their point in time, so that the backup can be stopped.
    M(backstay.postgresql.ebs_snapshot_wait) waits until they have been uploaded.
  - Refuses when the session is not in backup mode, or when a part of the database cluster is on something that is not an EBS volume. It names that part.
  - The call is never repeated blindly. All tags are set by the call itself, so that after a lost answer the set is looked up by its tags and adopted.
    A set in which a snapshot is missing or failed is deleted, and the task fails.
author:
  - The backstay authors (@backstay)
extends_documentation_fragment:
  - backstay.postgresql.attributes
  - backstay.postgresql.login
  - backstay.postgresql.inside
  - backstay.postgresql.state
  - backstay.postgresql.aws
options:
  session:
    description:
      - The session that RV(backstay.postgresql.backup_start#module:session) named.
    type: str
    required: true
  volumes:
    description:
      - What M(backstay.postgresql.volume_info) returned for this session.
      - Needed on a host that does not have the session, as with C(delegate_to). M(backstay.postgresql.snapshot_create) with
        C(provider=ebs) then adds the snapshots to the session, on the database host.
    type: dict
  instance_id:
    description:
      - Id of the instance that the volumes are attached to.
      - When not given, it is the one in O(volumes), else the metadata service of the instance is asked.
    type: str
  tags:
    description:
      - More tags for the snapshots. C(Name) may be among them; a name that begins with C(backstay:) may not.
    type: dict
  description:
    description:
      - Description of the snapshots.
      - When not given, it names the database cluster and the backup.
    type: str
  copy_tags:
    description:
      - Whether the tags of the volumes are copied to their snapshots.
    type: bool
    default: false
  lock_mode:
    description:
      - Locks the snapshots against deletion, in this mode. It goes together with O(lock_duration).
      - With V(compliance) nobody can delete them before the time is over, O(lock_cool_off) aside. This costs until then.
    type: str
    choices:
      - governance
      - compliance
  lock_duration:
    description:
      - Days that the lock lasts.
    type: int
  lock_cool_off:
    description:
      - Hours in which a lock of O(lock_mode=compliance) can still be lifted, from 1 to 72.
    type: int
  fast_restore_zones:
    description:
      - Availability zones in which fast snapshot restore is enabled for the snapshots. It costs by the hour for each of them until it is disabled.
    type: list
    elements: str
  lookup_timeout:
    description:
      - Seconds to look for the snapshots by their tags when the answer of the call was lost. EC2 shows new ones with a delay.
    type: int
    default: 60
  wait_timeout:
    description:
      - Seconds to go on trying when EC2 refuses the call because of too many requests, or cannot be reached.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A session has one set. Run again, it returns the one that is there.
notes:
  - 'Needs the policy C(aws/iam-backup.json) of this collection. O(lock_mode) and O(fast_restore_zones) need
    C(ec2:LockSnapshot) and C(ec2:EnableFastSnapshotRestores) besides.'
  - Needs root (C(become=true)) on the database host, as M(backstay.postgresql.volume_info) does.
  - 'The tags are C(Name), C(backstay:cluster), C(backstay:backup-id), C(backstay:system-identifier), C(backstay:start-lsn),
    C(backstay:session), C(backstay:request) and C(backstay:state). The last one is V(taking) until all of them are completed, then V(taken).'
seealso:
  - module: backstay.postgresql.volume_info
  - module: backstay.postgresql.ebs_snapshot_wait
  - module: backstay.postgresql.ebs_restore
  - module: backstay.postgresql.ebs_expire
"""

EXAMPLES = r"""
- name: Take the snapshots
  backstay.postgresql.ebs_snapshot:
    session: "{{ backup.session }}"
    tags:
      team: orders
  become: true

- name: Take the snapshots from the controller
  backstay.postgresql.ebs_snapshot:
    session: "{{ backup.session }}"
    volumes: "{{ volumes }}"
    profile: backups
  delegate_to: localhost
  become: false
  register: taken

- name: Add them to the session
  backstay.postgresql.snapshot_create:
    session: "{{ backup.session }}"
    provider: ebs
    snapshots: "{{ taken.snapshots }}"
  become: true
"""

RETURN = r"""
snapshots:
  description: The snapshots, one for each volume.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: Id of the snapshot.
      type: str
      returned: success, not in check mode
      sample: snap-0a1b2c3d4e5f67890
    provider:
      description: Always V(ebs).
      type: str
      returned: success
      sample: ebs
    source:
      description: The device that was taken.
      type: str
      returned: success
      sample: /dev/nvme1n1
    path:
      description: Always null.
      type: str
      returned: success, not in check mode
      sample: null
    mount_point:
      description: Mount point of the first file system on the volume.
      type: str
      returned: success, not in check mode
      sample: /srv/postgresql
    covers:
      description: The parts of the database cluster that it holds, each with C(role), C(oid) and C(path).
      type: list
      elements: dict
      returned: success, not in check mode
      sample: [{"role": "data_directory", "oid": null, "path": "/var/lib/postgresql/data"}]
    started_at:
      description: Just before the call, or when EC2 took the snapshot if that is earlier, in UTC. The point in time of the snapshot is not before it.
      type: str
      returned: success, not in check mode
      sample: "2026-11-21T03:15:01Z"
    finished_at:
      description: When the call was answered, in UTC.
      type: str
      returned: success, not in check mode
      sample: "2026-11-21T03:15:02Z"
    bytes:
      description: Always null.
      type: int
      returned: success, not in check mode
      sample: null
    files:
      description: Always null.
      type: int
      returned: success, not in check mode
      sample: null
    reflinked:
      description: Always null.
      type: bool
      returned: success, not in check mode
      sample: null
    volume:
      description: What a restore elsewhere has to know of the volume. In check mode only its id.
      type: dict
      returned: success
      contains:
        volume_id:
          description: Id of the volume.
          type: str
          returned: success
          sample: vol-0a1b2c3d4e5f67890
        region:
          description: Region that the snapshot is in.
          type: str
          returned: success
          sample: eu-central-1
        zone:
          description: Availability zone of the volume.
          type: str
          returned: success
          sample: eu-central-1a
        account:
          description: Account that the snapshot belongs to.
          type: str
          returned: success
          sample: "123456789012"
        instance_id:
          description: Instance that the volume was attached to.
          type: str
          returned: success
          sample: i-0123456789abcdef0
        gibibytes:
          description: Size of the volume in GiB.
          type: int
          returned: success
          sample: 100
        volume_type:
          description: Type of the volume.
          type: str
          returned: success
          sample: gp3
        iops:
          description: Its I/O operations a second. Null where the type has none.
          type: int
          returned: success
          sample: 3000
        throughput:
          description: Its throughput in MiB/s. Null where the type has none.
          type: int
          returned: success
          sample: 125
        encrypted:
          description: Whether volume and snapshot are encrypted.
          type: bool
          returned: success
          sample: true
        kms_key:
          description: ARN of the key. Null when not encrypted.
          type: str
          returned: success
          sample: arn:aws:kms:eu-central-1:123456789012:key/0f0e7a2b-6c53-4a51-9f0b-3f6f2f1c8d11
        state:
          description: How far the upload is, V(pending), V(completed) or V(error).
          type: str
          returned: success
          sample: pending
        progress:
          description: How much is uploaded, in percent. Null when EC2 does not tell.
          type: int
          returned: success
          sample: 0
        filesystems:
          description: The file systems on the volume, as M(backstay.postgresql.volume_info) returns them.
          type: list
          elements: dict
          returned: success
        system_identifier:
          description: System identifier of the database cluster that it was taken of.
          type: str
          returned: success, not in check mode
          sample: "7343434343434343434"
        start_lsn:
          description: LSN where the backup starts that it was taken for.
          type: str
          returned: success, not in check mode
          sample: 0/3000028
session:
  description: The session.
  type: str
  returned: success
  sample: main.20261121T031500Z-3f9c
backup_id:
  description: Name of the backup in the repository.
  type: str
  returned: success
  sample: 20261121T031500Z-3f9c
request:
  description: Id of the one call, which all snapshots of the set have in the tag C(backstay:request).
  type: str
  returned: success, not in check mode
  sample: 64a7c2b1f0e3a-1a2b
cluster:
  description: Name of the database cluster's folder in the repository.
  type: str
  returned: success, not in check mode
  sample: main
adopted:
  description: Whether the set was there already, from an earlier run of the task or from a call whose answer was lost.
  type: bool
  returned: success, not in check mode
  sample: false
instance_id:
  description: The instance.
  type: str
  returned: success
  sample: i-0123456789abcdef0
region:
  description: The region.
  type: str
  returned: success
  sample: eu-central-1
kept:
  description: Ids of snapshots that belong to no backup and could not be deleted. M(backstay.postgresql.ebs_expire) deletes them.
  type: list
  elements: str
  returned: failure, if there are any
  sample: [snap-0a1b2c3d4e5f67890]
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: snapshot_failed
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Give the role the policy aws/iam-backup.json."]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
backup_mode:
  description: Whether the server is in backup mode for the session after the failure, V("on"), V("off") or V(unknown).
  type: str
  returned: failure
  sample: "on"
"""
