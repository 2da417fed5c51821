#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: Tells of backup sessions, the running ones and those of the past
version_added: 0.1.0
description:
  - Tells the state of one session or of all sessions of a state directory.
  - A running session is asked itself, through its keeper. Of any other the session record tells, after a reboot too.
  - A session whose keeper is gone without having ended the backup is V(lost).
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
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
  idempotent:
    support: N/A
notes:
  - Needs no connection to the server and no privileges there. Only root and the user of the keeper may ask a running session.
seealso:
  - module: backstay.postgresql.backup_start
  - module: backstay.postgresql.backup_abort
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
