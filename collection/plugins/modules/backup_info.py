#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: Tells of backup sessions, and of the backups in a repository and when each was last proved
version_added: 0.1.0
description:
  - Tells the state of one session or of all sessions of a state directory.
  - A running session is asked itself, through its keeper. Of any other the session record tells, after a reboot too.
  - A session whose keeper is gone without having ended the backup is V(lost).
  - With O(repository), tells of every backup of a database cluster too, and when and how it was last proved by M(backstay.postgresql.backup_verify).
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
      - The session to tell of. It must exist.
      - When not given, all sessions are told of, none being no failure.
      - When neither this nor O(state_directory) is given, root is also told of the sessions of other users of the host, as far as they are in
        C(~/.local/state/backstay). Of these only the records tell, their keepers are not asked.
    type: str
  repository:
    description:
      - Where backups are, either a C(file://) URL or an absolute path on the target.
      - When given, the backups of the database cluster O(cluster) in it are told of. A repository without any is no failure.
    type: str
  cluster:
    description:
      - Name of the database cluster's folder in the repository.
      - It chooses backups and no sessions, hence is of no use without O(repository).
    type: str
    default: main
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
  idempotent:
    support: N/A
notes:
  - A manifest, or a report of a drill, that cannot be read is a warning and hides nothing else.
  - Needs no connection to the server and no privileges there. Only root and the user of the keeper may ask a running session.
seealso:
  - module: backstay.postgresql.backup_start
  - module: backstay.postgresql.backup_abort
  - module: backstay.postgresql.backup_verify
"""

EXAMPLES = r"""
- name: Tell of all sessions on the host, as root
  backstay.postgresql.backup_info:
  register: backups
  become: true

- name: Make sure that no session was lost
  ansible.builtin.assert:
    that: backups.sessions | selectattr("state", "equalto", "lost") | list | length == 0

- name: Tell of one session
  backstay.postgresql.backup_info:
    session: main.20261121T031500Z-3f9c
  become: true
  become_user: postgres

- name: Tell of the backups in the repository
  backstay.postgresql.backup_info:
    repository: /var/backups/postgresql
  register: catalogue
  become: true
  become_user: postgres

- name: Make sure that the newest complete backup was proved within the last two days
  ansible.builtin.assert:
    that:
      - newest.last_verified is not none
      - newest.last_verified.verdict == "passed"
      - (now(utc=true) - (newest.last_verified.ended[:19] | to_datetime("%Y-%m-%dT%H:%M:%S"))).total_seconds() < 172800
  vars:
    newest: "{{ catalogue.backups | selectattr('state', 'equalto', 'complete') | first }}"
"""

RETURN = r"""
sessions:
  description: The sessions, the oldest first. Those of other users come after those of the task's own state directory.
  type: list
  elements: dict
  returned: success
  contains:
    session:
      description: The handle of the session.
      type: str
      returned: success
      sample: main.20261121T031500Z-3f9c
    backup_id:
      description: Name of the backup in the repository.
      type: str
      returned: success
      sample: 20261121T031500Z-3f9c
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
    state:
      description: One of V(starting), V(in_progress), V(stopped), V(complete), V(aborted), V(lost).
      type: str
      returned: success
      sample: in_progress
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
    state_directory:
      description: The state directory that has the session's record.
      type: str
      returned: success
      sample: /var/lib/backstay
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
      description: The copies that were taken, as M(backstay.postgresql.snapshot_create) returns them.
      type: list
      elements: dict
      returned: success
      sample: [{"id": "sha256:5891b5b522d5df08", "provider": "files"}]
in_backup_mode:
  description: Whether any of these sessions holds its server in backup mode.
  type: bool
  returned: success
  sample: true
backups:
  description: The backups of the database cluster O(cluster) in the repository, the newest first.
  type: list
  elements: dict
  returned: when O(repository) is given
  contains:
    backup_id:
      description: Name of the backup.
      type: str
      returned: success
      sample: 20261121T031500Z-3f9c
    cluster:
      description: Name of the database cluster's folder in the repository.
      type: str
      returned: success
      sample: main
    label:
      description: Label of the backup.
      type: str
      returned: success
      sample: nightly
    state:
      description: One of V(started), V(stopped), V(uploading), V(complete), V(failed), V(expired). Only a V(complete) backup can be restored.
      type: str
      returned: success
      sample: complete
    reason:
      description: Why the backup failed. Null otherwise.
      type: str
      returned: success
      sample: the deadline passed
    started_at:
      description: When the backup started, in UTC by the clock of the server.
      type: str
      returned: success
      sample: "2026-11-21T03:15:00.123456Z"
    stopped_at:
      description: When the backup was stopped, in UTC by the clock of the server. Null until then.
      type: str
      returned: success
      sample: "2026-11-21T03:15:10.123456Z"
    start_lsn:
      description: LSN where the backup starts.
      type: str
      returned: success
      sample: 0/3000028
    stop_lsn:
      description: LSN where the backup ends. Null until it was stopped.
      type: str
      returned: success
      sample: 0/3000138
    timeline:
      description: Timeline of the backup.
      type: int
      returned: success
      sample: 1
    server_version:
      description: Version of the server.
      type: str
      returned: success
      sample: "16.14"
    system_identifier:
      description: System identifier of the database cluster, as digits.
      type: str
      returned: success
      sample: "7412345678901234567"
    from_standby:
      description: Whether the backup was taken from a standby.
      type: bool
      returned: success
      sample: false
    providers:
      description: What took its copies, such as V(files), V(btrfs), V(command), V(ebs).
      type: list
      elements: str
      returned: success
      sample: ["files"]
    bytes:
      description: Sizes of the copied files and of the WAL together. Null for a backup whose snapshots do not tell how much is in them.
      type: int
      returned: success
      sample: 44345298944
    last_verified:
      description:
        - The newest drill that proved, or failed to prove, this backup. Null when there was none.
        - A drill with O(backstay.postgresql.backup_verify#module:self_test=true) is none, since it says nothing of the backup.
      type: dict
      returned: success
      contains:
        verdict:
          description: Either V(passed) or V(failed).
          type: str
          returned: success
          sample: passed
        level:
          description: How much was to be proved, one of V(manifest), V(recover), V(read), V(full).
          type: str
          returned: success
          sample: recover
        started:
          description: When the drill began, in UTC.
          type: str
          returned: success
          sample: "2026-11-21T04:00:00.250Z"
        ended:
          description: When the drill ended, in UTC.
          type: str
          returned: success
          sample: "2026-11-21T04:00:03.450Z"
        seconds:
          description: How long the drill took.
          type: float
          returned: success
          sample: 3.2
        recovery_seconds:
          description: How long the recovery in it took. Null when it did not come so far.
          type: float
          returned: success
          sample: 1.4
        not_proved:
          description: The checks that were skipped, each with its reason.
          type: list
          elements: str
          returned: success
          sample: ["dump: only made at level read and above"]
        isolation:
          description: What the server of the drill was isolated by, one of V(namespaces), V(container), V(none). Null when no server was started.
          type: str
          returned: success
          sample: namespaces
        self_test:
          description: Always false.
          type: bool
          returned: success
          sample: false
        report:
          description: The report as JSON, a file on the target.
          type: str
          returned: success
          sample: /var/backups/postgresql/main/backups/20261121T031500Z-3f9c/verifications/20261121T040000Z.json
        report_html:
          description: The report as a page to be read. Null when it is not there any more.
          type: str
          returned: success
          sample: /var/backups/postgresql/main/backups/20261121T031500Z-3f9c/verifications/20261121T040000Z.html
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: session_not_found
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Is state_directory the one that backup_start was given?"]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
"""
