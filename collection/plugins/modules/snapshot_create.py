#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_create
short_description: Takes a copy of a database cluster that is in backup mode
version_added: 0.1.0
description:
  - Takes the copy of the data directory, C(pg_wal) and every tablespace within a backup session, and records it with the session before it returns.
  - Refuses when the session is not in backup mode, or when a volume that holds a part of the database cluster would not be covered. It names that part.
  - The session is watched while the copy is taken. When backup mode ends meanwhile, the task fails and what was made is removed.
  - V(files) copies files in parallel into the repository, by reflink where the file system has it, without those files that PostgreSQL's documentation
    says to leave out.
  - V(btrfs) takes a read-only snapshot of each subvolume that is concerned.
  - V(command) runs a program of yours, for LVM, ZFS or a storage array.
  - V(ebs) takes nothing. It adds the snapshots that M(backstay.postgresql.ebs_snapshot) took on another host to the session, after checking that all volumes
    are covered and that the snapshots are not older than the session.
author:
  - The backstay authors (@backstay)
extends_documentation_fragment:
  - backstay.postgresql.attributes
  - backstay.postgresql.login
  - backstay.postgresql.inside
  - backstay.postgresql.state
options:
  session:
    description:
      - The session that RV(backstay.postgresql.backup_start#module:session) named.
    type: str
    required: true
  provider:
    description:
      - How the copy is taken.
    type: str
    choices:
      - btrfs
      - files
      - command
      - ebs
    default: files
  snapshot_directory:
    description:
      - Directory for the snapshots of O(provider=btrfs), on the same file system and with mode V(0700).
      - When not given, they are put beside the subvolume.
    type: path
  jobs:
    description:
      - How many files O(provider=files) copies at the same time.
      - From 1 to 64. When not given, it is the number of processors, at most 4.
    type: int
  reflink:
    description:
      - Whether O(provider=files) shares the files' blocks with the original until one of the two changes.
      - V(auto) does so where the file system can, V(always) fails where it cannot.
    type: str
    choices:
      - auto
      - always
      - never
    default: auto
  command:
    description:
      - Program and arguments of O(provider=command). No shell is involved.
      - It is told in its environment what to take, and prints one JSON object a line, with C(id) and C(mount_point), for each snapshot that it took.
      - The page C(command_provider.md) in the collection's C(docs) has working examples for LVM and ZFS.
    type: list
    elements: str
  snapshots:
    description:
      - What RV(backstay.postgresql.ebs_snapshot#module:snapshots) has, for O(provider=ebs).
    type: list
    elements: dict
  wait_timeout:
    description:
      - Seconds that the copy may take. After that it is ended, and the task fails with C(snapshot_timeout).
    type: int
    default: 3600
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each run takes another copy.
notes:
  - Needs no privileges in the database. It needs to read all files of the database cluster, as its owner or as root.
  - O(provider=btrfs) needs root, and O(provider=command) whatever the program needs.
  - An atomic snapshot of several volumes is not needed, since WAL replay makes the copy whole. This is what backup mode is for.
seealso:
  - module: backstay.postgresql.backup_start
  - module: backstay.postgresql.backup_stop
  - module: backstay.postgresql.ebs_snapshot
"""

EXAMPLES = r"""
- name: Copy the files into the repository
  backstay.postgresql.snapshot_create:
    session: "{{ backup.session }}"
  become: true
  become_user: postgres

- name: Take btrfs snapshots
  backstay.postgresql.snapshot_create:
    session: "{{ backup.session }}"
    provider: btrfs
    snapshot_directory: /srv/.snapshots
  become: true

- name: Add the EBS snapshots that were taken from the controller
  backstay.postgresql.snapshot_create:
    session: "{{ backup.session }}"
    provider: ebs
    snapshots: "{{ taken.snapshots }}"
  become: true

- name: Let a program of ours take snapshots
  backstay.postgresql.snapshot_create:
    session: "{{ backup.session }}"
    provider: command
    command:
      - /usr/local/sbin/snapshot-lvm
      - --size
      - 10G
    wait_timeout: 120
  become: true
"""

RETURN = r"""
snapshots:
  description: The copies that this task took.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: Id of the snapshot. It is the UUID of a subvolume, the checksum of the list of copied files, or what the program called it.
      type: str
      returned: success, not in check mode
      sample: sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    provider:
      description: The provider that took it.
      type: str
      returned: success
      sample: files
    source:
      description: What was copied, a directory, subvolume or mount point.
      type: str
      returned: success
      sample: /var/lib/postgresql/15/main
    path:
      description: Where the copy is. Null when it is not a path.
      type: str
      returned: success
      sample: /var/backups/postgresql/main/backups/20261121T031500Z-3f9c/files
    mount_point:
      description: Mount point of the volume that was copied.
      type: str
      returned: success
      sample: /
    covers:
      description: The parts of the database cluster that it holds, each with C(role) (C(data_directory), C(wal) or C(tablespace)), C(oid) and C(path).
      type: list
      elements: dict
      returned: success
      sample: [{"role": "data_directory", "oid": null, "path": "/var/lib/postgresql/15/main"}]
    started_at:
      description: When it was begun, in UTC.
      type: str
      returned: success, not in check mode
      sample: "2026-11-21T03:15:01Z"
    finished_at:
      description: When it was done, in UTC.
      type: str
      returned: success, not in check mode
      sample: "2026-11-21T03:15:09Z"
    bytes:
      description: Size of what was copied, in bytes. Null when not known.
      type: int
      returned: success, not in check mode
      sample: 41943040
    files:
      description: How many files were copied. Null when not known.
      type: int
      returned: success, not in check mode
      sample: 1300
    reflinked:
      description: Whether blocks are shared with the original. Null when not known.
      type: bool
      returned: success, not in check mode
      sample: true
    listing:
      description: The list of all copied files with their checksums, beside the copy in the backup's folder.
      type: dict
      returned: when O(provider=files)
      sample: {"path": "files.json", "size": 124548, "mode": 384, "sha256": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}
    volume:
      description: What is known of the EBS volume, as M(backstay.postgresql.ebs_snapshot) returns it.
      type: dict
      returned: when O(provider=ebs)
      sample: {"volume_id": "vol-0a1b2c3d4e5f67890", "region": "eu-central-1", "state": "pending"}
    notes:
      description: What should be known of the copy, such as a symbolic link that was copied as a link. These are warnings of the task, too.
      type: list
      elements: str
      returned: when there are any
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
state:
  description: State of the session.
  type: str
  returned: success
  sample: in_progress
cluster:
  description: Name of the database cluster's folder in the repository.
  type: str
  returned: success
  sample: main
repository:
  description: The repository, as backup_start was given it.
  type: str
  returned: success
  sample: /var/backups/postgresql
label:
  description: Label of the backup.
  type: str
  returned: success
  sample: nightly
server:
  description: Where the server listens, as C(<host>:<port>) or as the path of its socket.
  type: str
  returned: success
  sample: /run/postgresql/.s.PGSQL.5432
container:
  description: Name of the container that the server is in. Null for a server in none, and for one that O(login_pid) named.
  type: str
  returned: success
  sample: orders-db
in_backup_mode:
  description: Whether the server is in backup mode for this session.
  type: bool
  returned: success
  sample: true
age:
  description: Seconds since the session began.
  type: int
  returned: success
  sample: 12
remaining:
  description: Seconds until the keeper ends by itself. Zero when there is none.
  type: int
  returned: success
  sample: 3588
keeper_pid:
  description: Process id of the keeper. Null when there is none.
  type: int
  returned: success
  sample: 4242
start_lsn:
  description: LSN where the backup starts. Null until it has started.
  type: str
  returned: success
  sample: 0/3000028
stop_lsn:
  description: LSN where the backup ends. Null until it was stopped.
  type: str
  returned: success
  sample: 0/3000138
timeline:
  description: Timeline that the backup started on. Null until it has started.
  type: int
  returned: success
  sample: 1
deadline:
  description: When the keeper ends by itself, and leaves backup mode if the server still is in it, in UTC.
  type: str
  returned: success
  sample: "2026-11-21T04:15:00.123Z"
started_at:
  description: When the backup started, in UTC by the clock of the server. Null until then.
  type: str
  returned: success
  sample: "2026-11-21T03:15:00.123456Z"
stopped_at:
  description: When the backup was stopped, in UTC by the clock of the server. Null until then.
  type: str
  returned: success
  sample: "2026-11-21T03:15:10.123456Z"
reason:
  description: Why and when the session was aborted or lost. Null otherwise.
  type: str
  returned: success
  sample: the deadline passed (at 2026-11-21T04:15:00.123Z)
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
  sample: ["Add the volume to the snapshot."]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
backup_mode:
  description: Whether the server is in backup mode for the session after the failure, V("on"), V("off") or V(unknown).
  type: str
  returned: failure
  sample: "off"
"""
