#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: ebs_snapshot_wait
short_description: Waits until the EBS snapshots of a backup have been uploaded
version_added: 0.1.0
description:
  - Waits until all snapshots of a backup are V(completed), and tells meanwhile how far they are.
  - Marks the backup as C(complete) then, if its WAL is there. Before that it is C(uploading), and nothing restores it.
  - A time that is over is no failure. RV(ignore:state) is V(uploading) then, and the task can be run again, from another play too.
  - A snapshot that ends in an error fails the task and the backup. The other snapshots are kept.
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
      - When not given, O(session) must be on the target, or O(snapshots) be given.
      - The repository that the backup is in, either a C(file://) URL or an absolute path on the target.
    type: str
  cluster:
    description:
      - Name of the database cluster's folder in the repository.
    type: str
    default: main
  backup_id:
    description:
      - Name of the backup in O(repository).
    type: str
  session:
    description:
      - The session of the backup, instead of O(backup_id). It names repository and database cluster.
    type: str
  snapshots:
    description:
      - The snapshots, as M(backstay.postgresql.ebs_snapshot) returned them, where the repository is out of reach.
      - The manifest is not marked then. Run the task on a host that reaches the repository for that.
    type: list
    elements: dict
  wait:
    description:
      - Whether to wait. With V(false) the task looks once.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait.
    type: int
    default: 3600
  delay:
    description:
      - Seconds between two looks.
    type: int
    default: 15
  earlier:
    description:
      - Whether other backups of the cluster that are C(uploading), because nobody waited long enough, are brought up to date as well.
        Each is looked at once. What fails there is a warning.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    details:
      - Looks once, and marks nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - Needs the policy C(aws/iam-backup.json) of this collection.
  - With C(async) the task waits in the background and shows no progress.
seealso:
  - module: backstay.postgresql.ebs_snapshot
  - module: backstay.postgresql.wal_fetch
"""

EXAMPLES = r"""
- name: Wait until the snapshots have been uploaded, and complete the backup
  backstay.postgresql.ebs_snapshot_wait:
    session: "{{ backup.session }}"
    wait_timeout: 7200
  become: true

- name: Look once, hours later and from another host that sees the repository
  backstay.postgresql.ebs_snapshot_wait:
    repository: /mnt/backups
    backup_id: 20261121T031500Z-3f9c
    wait: false
  register: upload
"""

RETURN = r"""
state:
  description: V(completed), or V(uploading) when the time was over before.
  type: str
  returned: success
  sample: completed
progress:
  description: How much is uploaded, in percent of all volumes.
  type: int
  returned: success
  sample: 100
estimate:
  description: Seconds that it may still take. Null when that cannot be told, and when nothing is left.
  type: int
  returned: success
  sample: 840
snapshots:
  description: The snapshots.
  type: list
  elements: dict
  returned: success
  contains:
    snapshot_id:
      description: Id of the snapshot.
      type: str
      returned: success
      sample: snap-0a1b2c3d4e5f67890
    volume_id:
      description: Id of the volume.
      type: str
      returned: success
      sample: vol-0a1b2c3d4e5f67890
    state:
      description: V(pending), V(completed) or V(error).
      type: str
      returned: success
      sample: completed
    progress:
      description: How much is uploaded, in percent.
      type: int
      returned: success
      sample: 100
    start_time:
      description: The point in time of the snapshot, in UTC.
      type: str
      returned: success
      sample: "2026-11-21T03:15:01Z"
    completion_time:
      description: When it was uploaded, in UTC. Null before.
      type: str
      returned: success
      sample: "2026-11-21T03:41:12Z"
manifest_state:
  description: State of the backup after this. Null when O(snapshots) were given without a repository.
  type: str
  returned: success
  sample: complete
earlier:
  description: The other backups that were C(uploading), and what they are now.
  type: list
  elements: dict
  returned: when O(earlier) is true and there is a repository
  sample: [{"backup_id": "20261120T031500Z-91ab", "manifest_state": "complete"}]
kept:
  description: Ids of the other snapshots of a backup of which one has failed. M(backstay.postgresql.ebs_expire) deletes them.
  type: list
  elements: str
  returned: when a snapshot has failed
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
  sample: ["Start a new backup."]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
"""
