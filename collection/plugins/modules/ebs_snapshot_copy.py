#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: ebs_snapshot_copy
short_description: Copies the EBS snapshots of a backup to another region or key
version_added: 0.1.0
description:
  - Copies every snapshot of a backup, with its tags, to another region, or in the same one to another key.
  - A copy that is there already, by its tags, is not made again. One under another O(kms_key_id) than the one given is another copy.
  - Records the copies nowhere but in their tags. They belong to the backup until M(backstay.postgresql.ebs_expire) in that region removes them.
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
  backup_id:
    description:
      - Name of the backup in O(repository).
      - When not given, it is the newest one that is complete.
    type: str
  destination_region:
    description:
      - Region to copy to.
    type: str
    required: true
  kms_key_id:
    description:
      - Key in O(destination_region) that the copies are encrypted with, by id, alias or ARN.
      - When not given and a copy is to be encrypted, it is the default key for EBS in that region.
    type: str
  encrypted:
    description:
      - Whether the copies are encrypted. Those of encrypted snapshots always are.
    type: bool
  tags:
    description:
      - More tags for the copies.
    type: dict
  completion_duration:
    description:
      - Minutes in which the copies are to be done, a multiple of 15 up to 2880. It costs more than a copy without.
    type: int
  wait:
    description:
      - Whether to wait until the copies are completed.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds to wait. A time that is over is no failure.
    type: int
    default: 3600
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - Needs C(ec2:CopySnapshot), C(ec2:CreateTags) and C(ec2:DescribeSnapshots), and the use of the keys. The page C(ebs.md) in the collection's C(docs)
    has the statements to add to a policy.
seealso:
  - module: backstay.postgresql.ebs_snapshot
  - module: backstay.postgresql.ebs_expire
"""

EXAMPLES = r"""
- name: Copy the newest backup to another region
  backstay.postgresql.ebs_snapshot_copy:
    repository: /var/backups/postgresql
    destination_region: eu-west-1
    kms_key_id: alias/backups
"""

RETURN = r"""
snapshots:
  description: The copies, one for each snapshot of the backup.
  type: list
  elements: dict
  returned: success
  contains:
    snapshot_id:
      description: Id of the copy.
      type: str
      returned: success, not in check mode
      sample: snap-0f0e0d0c0b0a09080
    source_snapshot_id:
      description: Id of the snapshot that was copied.
      type: str
      returned: success
      sample: snap-0a1b2c3d4e5f67890
    region:
      description: Region of the copy.
      type: str
      returned: success
      sample: eu-west-1
    state:
      description: V(pending), V(completed) or V(error).
      type: str
      returned: success, not in check mode
      sample: pending
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: snapshot_not_found
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Is the option region the one that the backup was taken in?"]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
"""
