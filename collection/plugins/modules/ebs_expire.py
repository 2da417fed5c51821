#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: ebs_expire
short_description: Deletes EBS snapshots of old backups, and of backups that came to nothing
version_added: 0.1.0
description:
  - Deletes the snapshots of the backups that the options name, and of backups that failed.
  - The repository only proposes. A snapshot is deleted when its own tags say that it is of this database cluster and this backup, and when it belongs
    to the account that asks. Any other is refused and returned in RV(ignore:refused).
  - Copies that M(backstay.postgresql.ebs_snapshot_copy) made are deleted in their own region only, with O(region).
  - The newest complete backup is deleted only when it is named.
  - A backup is marked C(expired) in the repository before its first snapshot is deleted, so that nothing restores half of it. Its folder stays.
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
  keep:
    description:
      - How many of the newest complete backups are kept, at least 1. Older ones are deleted, unless O(keep_days) keeps them.
    type: int
  keep_days:
    description:
      - For how many days complete backups are kept. Older ones are deleted, unless O(keep) keeps them.
    type: int
  backup_ids:
    description:
      - Names of backups to delete, whatever the other options say. One that has other snapshots than those of EBS is refused.
    type: list
    elements: str
  unfinished:
    description:
      - Whether snapshots are deleted that never became a backup. These are tagged C(backstay:state=taking), and their backup failed,
        or they are older than O(grace) and no backup in the repository names them.
      - So are those of a backup that was stopped longer ago than O(grace), and whose WAL was never fetched. Its manifest says C(expired) then.
    type: bool
    default: true
  grace:
    description:
      - Seconds for which a backup may be under way. Until then snapshots of a backup that the repository does not know are left alone, and one that is
        named in O(backup_ids) and not complete is refused.
    type: int
    default: 86400
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - Needs the policy C(aws/iam-expire.json) of this collection. For O(unfinished) alone, C(aws/iam-backup.json) is enough.
  - A snapshot that is locked, or that an AMI uses, is refused.
seealso:
  - module: backstay.postgresql.ebs_snapshot
"""

EXAMPLES = r"""
- name: Keep two weeks, and at least three backups
  backstay.postgresql.ebs_expire:
    repository: /var/backups/postgresql
    keep: 3
    keep_days: 14

- name: Delete what failed backups left, and nothing else
  backstay.postgresql.ebs_expire:
    repository: /var/backups/postgresql
"""

RETURN = r"""
expired:
  description: The backups whose snapshots were deleted.
  type: list
  elements: dict
  returned: success, and when EC2 refused to go on
  contains:
    backup_id:
      description: Name of the backup.
      type: str
      returned: success
      sample: 20261107T031500Z-81aa
    snapshots:
      description: Ids of the snapshots that were deleted.
      type: list
      elements: str
      returned: success
      sample: [snap-0a1b2c3d4e5f67890]
kept:
  description: Names of the backups with EBS snapshots that are kept.
  type: list
  elements: str
  returned: success
  sample: [20261121T031500Z-3f9c]
refused:
  description: Snapshots that were not deleted, and why.
  type: list
  elements: dict
  returned: success, and when EC2 refused to go on
  contains:
    snapshot_id:
      description: Id of the snapshot.
      type: str
      returned: success
      sample: snap-00112233445566778
    why:
      description: Why it was not deleted.
      type: str
      returned: success
      sample: its tag "backstay:cluster" is "billing", not "main"
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: invalid_argument
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Give keep, keep_days or backup_ids."]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
"""
