#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: backup_abort
short_description: Leaves backup mode and gives a backup up
version_added: 0.1.0
description:
  - Ends a session without a backup. Made for the C(rescue) of a block.
  - Leaves backup mode, marks the backup as failed in the repository, and records why in the session record.
  - A keeper that cannot answer, because the server hangs or is still in its starting checkpoint, is ended by force. That closes its connection,
    and with it backup mode ends as well.
  - Harmless when the session does not exist or has ended already. A session that was lost is changed once, its record says so then.
  - A backup that was stopped already is left as it is. Its WAL may still be fetched, and it is complete then.
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
      - The session to end, as C(<cluster>.<backup_id>).
      - When not given, nothing is done, as for a session that does not exist.
    type: str
  reason:
    description:
      - Why the backup is given up. It is kept with the session and shown by M(backstay.postgresql.backup_info).
      - When not given, it is V(aborted by backup_abort).
    type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - Needs no connection of its own to the server and no privileges there. Only root and the user of the keeper may end its session.
  - What a snapshot provider made stays, unless it was made by a task that failed.
seealso:
  - module: backstay.postgresql.backup_start
  - module: backstay.postgresql.backup_info
"""

EXAMPLES = r"""
- name: Take a backup, and leave backup mode whatever happens
  vars:
    session: "main.{{ backup_id }}"
  block:
    - name: Start the backup
      backstay.postgresql.backup_start:
        repository: /var/backups/postgresql
        backup_id: "{{ backup_id }}"
    - name: Take the copy
      backstay.postgresql.snapshot_create:
        session: "{{ session }}"
    - name: Stop the backup
      backstay.postgresql.backup_stop:
        session: "{{ session }}"
  rescue:
    - name: Leave backup mode
      backstay.postgresql.backup_abort:
        session: "{{ session }}"
        reason: "{{ ansible_failed_result.msg | default('a task failed') }}"
    - name: Fail with the first error
      ansible.builtin.fail:
        msg: "{{ ansible_failed_result.msg }}"
"""

RETURN = r"""
session:
  description: The session.
  type: str
  returned: when the session exists
  sample: main.20261121T031500Z-3f9c
state:
  description: State of the session. V(aborted), or V(stopped) or V(complete) for a backup that is left as it is.
  type: str
  returned: when the session exists
  sample: aborted
was_in_backup_mode:
  description: Whether the session held the server in backup mode until now.
  type: bool
  returned: success
  sample: true
reason:
  description: Why and when the session ended. Null when it holds a backup.
  type: str
  returned: when the session exists
  sample: the disk of the repository is full (at 2026-11-21T03:15:08.123Z)
backup_id:
  description: Name of the backup in the repository.
  type: str
  returned: when the session exists
  sample: 20261121T031500Z-3f9c
cluster:
  description: Name of the database cluster's folder in the repository.
  type: str
  returned: when the session exists
  sample: main
repository:
  description: The repository, as backup_start was given it.
  type: str
  returned: when the session exists
  sample: /var/backups/postgresql
label:
  description: Label of the backup.
  type: str
  returned: when the session exists
  sample: nightly
server:
  description: Where the server listens, as C(<host>:<port>) or as the path of its socket.
  type: str
  returned: when the session exists
  sample: /run/postgresql/.s.PGSQL.5432
container:
  description: Name of the container that the server is in. Null for a server in none, and for one that O(login_pid) named.
  type: str
  returned: when the session exists
  sample: orders-db
in_backup_mode:
  description: Whether the server is in backup mode for this session.
  type: bool
  returned: success
  sample: false
age:
  description: Seconds since the session began.
  type: int
  returned: when the session exists
  sample: 12
remaining:
  description: Seconds until the keeper ends by itself. Zero when there is none.
  type: int
  returned: when the session exists
  sample: 3588
keeper_pid:
  description: Process id of the keeper. Null when there is none.
  type: int
  returned: when the session exists
  sample: 4242
start_lsn:
  description: LSN where the backup starts. Null until it has started.
  type: str
  returned: when the session exists
  sample: 0/3000028
stop_lsn:
  description: LSN where the backup ends. Null until it was stopped.
  type: str
  returned: when the session exists
  sample: 0/3000138
timeline:
  description: Timeline that the backup started on. Null until it has started.
  type: int
  returned: when the session exists
  sample: 1
deadline:
  description: When the keeper ends by itself, and leaves backup mode if the server still is in it, in UTC.
  type: str
  returned: when the session exists
  sample: "2026-11-21T04:15:00.123Z"
started_at:
  description: When the backup started, in UTC by the clock of the server. Null until then.
  type: str
  returned: when the session exists
  sample: "2026-11-21T03:15:00.123456Z"
stopped_at:
  description: When the backup was stopped, in UTC by the clock of the server. Null until then.
  type: str
  returned: when the session exists
  sample: "2026-11-21T03:15:10.123456Z"
snapshots:
  description: The copies that the session has, as M(backstay.postgresql.snapshot_create) returns them.
  type: list
  elements: dict
  returned: when the session exists
  sample: [{"id": "sha256:5891b5b522d5df08", "provider": "files"}]
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: connection_lost
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Is the server running?"]
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
