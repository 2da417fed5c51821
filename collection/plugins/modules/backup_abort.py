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
  - Harmless when the session does not exist or has ended already.
  - A backup that was stopped already is left as it is. Its WAL may still be fetched, and it is complete then.
author:
  - The backstay authors (@backstay)
extends_documentation_fragment:
  - backstay.postgresql.attributes
  - backstay.postgresql.login
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
  description: State of the session.
  type: str
  returned: when the session exists
  sample: aborted
was_in_backup_mode:
  description: Whether the session was in backup mode until now.
  type: bool
  returned: success
  sample: true
reason:
  description: Why the session ended.
  type: str
  returned: when the session exists
  sample: the disk of the repository is full
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
