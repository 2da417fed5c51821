#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: wal_fetch
short_description: Fetches the WAL that a backup needs and completes it
version_added: 0.1.0
description:
  - Brings every WAL segment from the start to the stop LSN into the backup, so that it can be restored with nothing else at hand.
  - Takes them from C(pg_wal), where the session's replication slot keeps them, from a directory that is the WAL archive, or through a restore command.
    A server without C(archive_command) has complete backups too.
  - The history file of the timeline goes along, where there is one.
  - Checks the size and the page header of each segment (magic number, system identifier, timeline, page address), and the whole range
    with C(pg_waldump) where that is installed.
  - Marks the backup as complete only when nothing is missing, and ends the session.
  - A backup whose EBS snapshots have not been uploaded yet becomes C(uploading) instead. M(backstay.postgresql.ebs_snapshot_wait) completes it.
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
      - The session, which must have been stopped.
    type: str
    required: true
  source:
    description:
      - Where WAL segments are taken from.
      - V(auto) tries C(pg_wal), then O(archive_directory) and O(restore_command) as far as they are given.
    type: str
    choices:
      - auto
      - pg_wal
      - archive
      - restore_command
    default: auto
  archive_directory:
    description:
      - Directory of the WAL archive, needed for O(source=archive).
    type: path
  restore_command:
    description:
      - Command that fetches one WAL segment from the archive, needed for O(source=restore_command).
      - As in PostgreSQL, C(%f) is the name of the segment, C(%p) the path to copy it to, and C(%%) a percent sign.
    type: str
  wait_timeout:
    description:
      - Seconds to wait for a segment that is not there yet.
    type: int
    default: 300
  waldump:
    description:
      - Whether the range is read with C(pg_waldump) as well.
      - V(auto) does so where a C(pg_waldump) of the server's major version is found, V(require) fails where none is.
    type: str
    choices:
      - auto
      - require
      - skip
    default: auto
  bin_dir:
    description:
      - Directory of the server's programs.
      - When not given, it is looked for beside the running server, in the usual places of distributions, and in E(PATH).
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - Needs no privileges in the database. It needs to read C(pg_wal) or the archive, as the owner of the database cluster or as root.
  - O(restore_command) runs as the user of the task. Do not put secrets into it.
seealso:
  - module: backstay.postgresql.backup_stop
  - module: backstay.postgresql.ebs_snapshot_wait
  - module: backstay.postgresql.cluster_restore
"""

EXAMPLES = r"""
- name: Fetch the WAL, and complete the backup
  backstay.postgresql.wal_fetch:
    session: "{{ backup.session }}"
  become: true
  become_user: postgres

- name: Fetch the WAL from the archive
  backstay.postgresql.wal_fetch:
    session: "{{ backup.session }}"
    source: archive
    archive_directory: /srv/wal-archive
    wait_timeout: 900
    waldump: require
  become: true
  become_user: postgres

- name: Fetch the WAL in the way that recovery would
  backstay.postgresql.wal_fetch:
    session: "{{ backup.session }}"
    source: restore_command
    restore_command: wal-g wal-fetch "%f" "%p"
  become: true
  become_user: postgres
"""

RETURN = r"""
wal_segments:
  description: The WAL segments in the backup.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name of the WAL segment.
      type: str
      returned: success
      sample: "000000010000000000000003"
    size:
      description: Size in bytes.
      type: int
      returned: success, not in check mode
      sample: 16777216
    sha256:
      description: SHA-256 of the segment.
      type: str
      returned: success, not in check mode
      sample: 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    source:
      description: Where it was taken from, V(pg_wal), V(archive), V(restore_command), or V(repository) for a segment that the backup has already.
      type: str
      returned: success, not in check mode
      sample: pg_wal
waldump:
  description: What C(pg_waldump) said of the range, V(passed), V(skipped) or V(not_found).
  type: str
  returned: success, not in check mode
  sample: passed
backup_id:
  description: Name of the backup in the repository.
  type: str
  returned: success
  sample: 20261121T031500Z-3f9c
session:
  description: The session.
  type: str
  returned: success
  sample: main.20261121T031500Z-3f9c
state:
  description: State of the session. In check mode it may be V(stopped).
  type: str
  returned: success
  sample: complete
manifest:
  description: Path of the backup's manifest in the repository.
  type: str
  returned: success, not in check mode
  sample: /var/backups/postgresql/main/backups/20261121T031500Z-3f9c/backup.json
manifest_state:
  description: State of the backup, V(complete), or V(uploading) as long as its EBS snapshots are being uploaded.
  type: str
  returned: success, not in check mode
  sample: complete
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
  sample: false
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
snapshots:
  description: The copies that the session has, as M(backstay.postgresql.snapshot_create) returns them.
  type: list
  elements: dict
  returned: success
  sample: [{"id": "sha256:5891b5b522d5df08", "provider": "files"}]
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: wal_missing
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Is archive_command failing? See pg_stat_archiver."]
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
