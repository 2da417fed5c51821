#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_restore
short_description: Restores a backup into a data directory, and recovers it to a target
version_added: 0.1.0
description:
  - Puts the files of a complete backup into a data directory, or makes use of a writable snapshot that is in place already.
  - Puts C(backup_label) in place before anything can start the server, and rewrites C(tablespace_map) when tablespaces move.
  - Removes what must not come along, such as C(postmaster.pid) and the replication slots of the original.
  - Writes the settings of recovery for the target, with C(archive_mode) off unless told otherwise, so that the restored server does not write into
    the WAL archive of the original.
  - With O(start=true) starts the server and waits until recovery has reached the target.
author:
  - The backstay authors (@backstay)
extends_documentation_fragment:
  - backstay.postgresql.attributes
  - backstay.postgresql.login
  - backstay.postgresql.inside
  - backstay.postgresql.state
options:
  repository:
    description:
      - Where the backup is, either a C(file://) URL or an absolute path on the target.
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
      - When not given, it is the newest complete one from which the recovery target can be reached.
    type: str
  data_directory:
    description:
      - Data directory to restore into. No server may run in it.
      - It must be empty or missing, unless O(source=in_place).
    type: path
    required: true
  source:
    description:
      - What the files are taken from.
      - V(auto) is what the manifest of the backup says.
      - With V(in_place) the data directory and the tablespaces hold a writable snapshot of the backup already.
    type: str
    choices:
      - auto
      - files
      - btrfs
      - in_place
    default: auto
  tablespace_mapping:
    description:
      - New locations of tablespaces, by their old ones. Those that are not named keep theirs.
    type: dict
  wal_directory:
    description:
      - Directory for the WAL of the restored database cluster, to which C(pg_wal) becomes a symbolic link. It must be empty.
      - With O(source=in_place) it may also be the copy of the C(pg_wal) that the database cluster had outside its data directory. That is emptied, since
        the WAL of the backup takes its place. It must hold nothing but WAL of this database cluster, and no server may use it.
      - When not given, or when it is that path, it is C(pg_wal) in the data directory.
    type: path
  restore_command:
    description:
      - Command by which recovery fetches WAL that is later than the backup's own.
      - When not given, recovery has only the WAL in the backup, and C(restore_command) becomes C(/bin/false).
      - The module runs it too, in check mode as well, to ask for timeline history files.
    type: str
  recovery_target:
    description:
      - With V(immediate), recovery ends as soon as the database cluster is consistent.
      - Without any recovery target, recovery ends where the WAL ends.
    type: str
    choices:
      - immediate
  recovery_target_time:
    description:
      - Time up to which transactions are recovered, with its offset from UTC, as in V(2026-11-21T03:30:00+01:00).
    type: str
  recovery_target_xid:
    description:
      - Transaction id up to which recovery proceeds.
    type: str
  recovery_target_lsn:
    description:
      - LSN up to which recovery proceeds.
    type: str
  recovery_target_name:
    description:
      - Name of a restore point, made with C(pg_create_restore_point), up to which recovery proceeds.
    type: str
  recovery_target_inclusive:
    description:
      - Whether recovery stops just after the target, or just before it.
    type: bool
    default: true
  recovery_target_timeline:
    description:
      - Timeline to recover along, either a number, V(current) or V(latest).
      - When not given, it is the backup's own without O(restore_command) or with O(recovery_target=immediate), else the newest that is in the archive.
      - What is written down is V(current) for the backup's own timeline, else the number of the one that was chosen, never V(latest).
    type: str
  recovery_target_action:
    description:
      - What the server does when the target is reached.
    type: str
    choices:
      - pause
      - promote
      - shutdown
    default: promote
  archive_mode:
    description:
      - With V("off") the restored server does not archive its WAL.
      - With V(preserve) it does what the original did. Make sure that it has an archive of its own.
    type: str
    choices:
      - "off"
      - preserve
    default: "off"
  settings:
    description:
      - Further server settings for the restored database cluster, such as C(port).
    type: dict
  config_file:
    description:
      - Server configuration file to use, where it is not in the data directory, as on Debian.
    type: path
  owner:
    description:
      - Owner of the restored files. Only root can choose another than itself.
      - When not given, it is the owner that the files in the backup have, for root, else the user of the task.
    type: str
  group:
    description:
      - Group of the restored files. Only root can choose any.
    type: str
  verify:
    description:
      - Whether each file's SHA-256 is compared with the manifest.
    type: bool
    default: true
  reflink:
    description:
      - Whether the restored files share their blocks with those in the repository until one of the two changes.
    type: str
    choices:
      - auto
      - always
      - never
    default: auto
  jobs:
    description:
      - How many files are copied at the same time.
      - From 1 to 64. When not given, it is the number of processors, at most 4.
    type: int
  start:
    description:
      - Whether the server is started and awaited until it has reached the recovery target.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds without progress of recovery after which a started server is given up.
    type: int
    default: 3600
  bin_dir:
    description:
      - Directory of the server's programs.
      - When not given, it is looked for in the usual places of distributions and in E(PATH).
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: none
    details:
      - A data directory that is not empty is refused.
notes:
  - Options O(recovery_target), O(recovery_target_time), O(recovery_target_xid), O(recovery_target_lsn) and O(recovery_target_name) are mutually exclusive.
  - The target must not be before the backup's stop LSN.
  - Restoring needs no privileges in the database. The login options are for O(start=true), when the module asks the restored server how far it is. The role
    needs C(pg_read_all_stats), as given by C(GRANT pg_read_all_stats TO backup_role), or is a superuser.
  - Run the task as the owner of the database cluster, or as root with O(owner).
  - In diff mode it shows the files with recovery settings that it writes.
seealso:
  - module: backstay.postgresql.wal_fetch
  - name: Recovering Using a Continuous Archive Backup
    link: https://www.postgresql.org/docs/current/continuous-archiving.html
    description: Recovery and its targets, as PostgreSQL describes them.
"""

EXAMPLES = r"""
- name: Restore the newest backup, and start the server
  backstay.postgresql.cluster_restore:
    repository: /var/backups/postgresql
    data_directory: /srv/restored
    settings:
      port: 5433
    start: true
    login_unix_socket: /run/postgresql
    login_port: 5433
  become: true
  become_user: postgres

- name: Recover to just before a mistake, and look at it first
  backstay.postgresql.cluster_restore:
    repository: /var/backups/postgresql
    data_directory: /srv/restored
    tablespace_mapping:
      /srv/fast: /srv/restored-fast
    restore_command: cp /srv/wal-archive/%f "%p"
    recovery_target_time: "2026-11-21T09:59:00+01:00"
    recovery_target_action: pause
  become: true
  become_user: postgres

- name: Make use of volumes that were made from snapshots and are mounted already
  backstay.postgresql.cluster_restore:
    repository: /var/backups/postgresql
    backup_id: 20261121T031500Z-3f9c
    data_directory: /mnt/restored/main
    source: in_place
    recovery_target: immediate
    owner: postgres
    group: postgres
  become: true
"""

RETURN = r"""
backup_id:
  description: Name of the backup that was restored.
  type: str
  returned: success
  sample: 20261121T031500Z-3f9c
data_directory:
  description: The data directory.
  type: str
  returned: success
  sample: /srv/restored
tablespaces:
  description: Where the tablespaces are now.
  type: list
  elements: dict
  returned: success
  sample: [{"oid": 16385, "location": "/srv/restored-fast"}]
  contains:
    oid:
      description: Object id of the tablespace.
      type: int
      returned: success
      sample: 16385
    location:
      description: Directory of the tablespace.
      type: str
      returned: success
      sample: /srv/restored-fast
recovery_target:
  description: The recovery target, as settings of the server. Without a target, C(recovery_target) is V(latest), which is no value of the setting.
  type: dict
  returned: success
  sample:
    recovery_target_time: "2026-11-21 08:59:00.000000+00"
    recovery_target_inclusive: true
    recovery_target_timeline: current
    recovery_target_action: pause
started:
  description: Whether the server was started.
  type: bool
  returned: success
  sample: true
in_recovery:
  description: Whether the started server is still in recovery, as it is when paused. Null when it was not started.
  type: bool
  returned: success, not in check mode
  sample: false
replay_lsn:
  description: LSN up to which WAL was replayed. Null when the server was not started.
  type: str
  returned: success, not in check mode
  sample: 0/5000148
timeline:
  description: Timeline of the restored database cluster, a new one after promotion.
  type: int
  returned: when O(start=true)
  sample: 2
stop_lsn:
  description: LSN where the backup ends. Recovery must replay WAL at least to here.
  type: str
  returned: success
  sample: 0/3000138
socket_directory:
  description: Directory of the started server's Unix-domain socket.
  type: str
  returned: when O(start=true)
  sample: /run/postgresql
port:
  description: Port of the started server.
  type: int
  returned: when O(start=true)
  sample: 5433
log:
  description: File that the started server writes its log into.
  type: str
  returned: when O(start=true)
  sample: /srv/restored/backstay_recovery.log
source:
  description: What the files were taken from.
  type: str
  returned: success
  sample: files
files:
  description: How many files were restored.
  type: int
  returned: success, not in check mode
  sample: 1300
bytes:
  description: How many bytes were restored.
  type: int
  returned: success
  sample: 41943040
settings:
  description: The settings that were written, each as text. Values that may hold a password are hidden.
  type: dict
  returned: success
  sample: {"archive_mode": "off", "port": "5433", "recovery_target_timeline": "current", "restore_command": "/bin/false"}
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: data_directory_not_empty
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Restore into an empty directory."]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
"""
