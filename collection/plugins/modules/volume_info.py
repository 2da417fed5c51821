#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: volume_info
short_description: Tells which EBS volumes a database cluster is on
version_added: 0.1.0
description:
  - Goes from the running server to its block devices. The data directory, C(pg_wal) and every tablespace lead to a mount, a device
    (through partitions, LVM and md) and the id of an EBS volume, which is the serial number of the NVMe device.
  - Refuses when one of these paths is on something that is not an EBS volume, and names it.
  - Calls nothing of AWS but the metadata service of the instance, and needs no credentials.
  - M(backstay.postgresql.ebs_snapshot) does the same by itself on the database host. This module is for a task of it that is delegated to
    another host, and for those who want to know before.
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
      - A session on the target that the paths are taken from. The server is not connected to then, and the facts of the session are returned too.
    type: str
  instance:
    description:
      - Whether the metadata service is asked which instance this is.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - Needs root (C(become=true)) to read the UUID of a file system, and for a server in a container.
  - Without O(session) the role needs C(pg_read_all_settings), unless it is a superuser.
seealso:
  - module: backstay.postgresql.ebs_snapshot
"""

EXAMPLES = r"""
- name: Tell which volumes the server is on
  backstay.postgresql.volume_info:
    container: orders-db
  become: true
  register: on_disk

- name: Find the volumes of a backup session
  backstay.postgresql.volume_info:
    session: "{{ backup.session }}"
  become: true
  register: volumes

- name: Take the snapshots from the controller, which has the credentials
  backstay.postgresql.ebs_snapshot:
    session: "{{ backup.session }}"
    volumes: "{{ volumes }}"
  delegate_to: localhost
  become: false
  register: taken
"""

RETURN = r"""
filesystems:
  description: The file systems that the database cluster is on.
  type: list
  elements: dict
  returned: success
  contains:
    mount_point:
      description: Where it is mounted on the target, or inside the container when it is mounted nowhere else.
      type: str
      returned: success
      sample: /srv/postgresql
    device:
      description: Its device.
      type: str
      returned: success
      sample: /dev/nvme1n1
    fstype:
      description: Its type.
      type: str
      returned: success
      sample: xfs
    uuid:
      description: Its UUID. Null when C(blkid) tells none.
      type: str
      returned: success
      sample: 0f0e7a2b-6c53-4a51-9f0b-3f6f2f1c8d11
    label:
      description: Its label. Null when it has none.
      type: str
      returned: success
      sample: null
    options:
      description: The options that it is mounted with.
      type: list
      elements: str
      returned: success
      sample: [rw, noatime]
    layers:
      description: What is between the file system and its volumes, from the top.
      type: list
      elements: str
      returned: success
      sample: ["partition nvme1n1p1"]
    volumes:
      description: Ids of the EBS volumes that it lies on.
      type: list
      elements: str
      returned: success
      sample: [vol-0a1b2c3d4e5f67890]
    covers:
      description: The parts of the database cluster on it, each with C(role) (C(data_directory), C(wal) or C(tablespace)), C(oid) and C(path).
      type: list
      elements: dict
      returned: success
      sample: [{"role": "data_directory", "oid": null, "path": "/var/lib/postgresql/data"}]
    directories:
      description: Where each of these parts is below the mount point, in the same order.
      type: list
      elements: str
      returned: success
      sample: [pgdata]
volumes:
  description: The EBS volumes of these file systems.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: Id of the volume.
      type: str
      returned: success
      sample: vol-0a1b2c3d4e5f67890
    device:
      description: Its device.
      type: str
      returned: success
      sample: /dev/nvme1n1
    bytes:
      description: Its size in bytes.
      type: int
      returned: success
      sample: 107374182400
other_volumes:
  description: Ids of the volumes that are attached to the instance and hold nothing of the database cluster. The root volume is not among them.
  type: list
  elements: str
  returned: success
  sample: [vol-0f0e0d0c0b0a09080]
root_volume:
  description: Id of the volume that the root file system of the target is on. Null when that is no EBS volume.
  type: str
  returned: success
  sample: vol-00112233445566778
instance:
  description: The instance that they are attached to. Null when O(instance=false).
  type: dict
  returned: success
  contains:
    id:
      description: Id of the instance.
      type: str
      returned: success
      sample: i-0123456789abcdef0
    region:
      description: Region of the instance.
      type: str
      returned: success
      sample: eu-central-1
    zone:
      description: Availability zone of the instance.
      type: str
      returned: success
      sample: eu-central-1a
    account:
      description: Id of the account that the instance belongs to.
      type: str
      returned: success
      sample: "123456789012"
system_identifier:
  description: System identifier of the database cluster. It is text, since it does not fit every JSON number.
  type: str
  returned: success
  sample: "7343434343434343434"
data_directory:
  description: Data directory, as the server names it.
  type: str
  returned: success
  sample: /var/lib/postgresql/data
wal_directory:
  description: Where C(pg_wal) really is, as the server sees it.
  type: str
  returned: success
  sample: /var/lib/postgresql/data/pg_wal
tablespaces:
  description: Tablespaces outside the data directory.
  type: list
  elements: dict
  returned: success
  sample: [{"oid": 16385, "name": "fast", "location": "/srv/fast"}]
session:
  description: The session. Null when O(session) is not given.
  type: str
  returned: success
  sample: main.20261121T031500Z-3f9c
backup_id:
  description: Name of the backup in the repository.
  type: str
  returned: when O(session) is given
  sample: 20261121T031500Z-3f9c
cluster:
  description: Name of the database cluster's folder in the repository.
  type: str
  returned: when O(session) is given
  sample: main
start_lsn:
  description: LSN where the backup starts. Null until it has started.
  type: str
  returned: when O(session) is given
  sample: 0/3000028
start_time:
  description: When the backup started, in UTC by the clock of the server. Null until then.
  type: str
  returned: when O(session) is given
  sample: "2026-11-21T03:15:00.123456Z"
in_backup_mode:
  description: Whether the server is in backup mode for the session.
  type: bool
  returned: when O(session) is given
  sample: true
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: snapshot_not_covered
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Move the tablespace to an EBS volume, or use the provider files."]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
"""
