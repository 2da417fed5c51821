#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: backup_stop
short_description: Takes a PostgreSQL server out of backup mode and stores what the backup needs
version_added: 0.1.0
description:
  - Stops the backup of a session with C(pg_backup_stop) (C(pg_stop_backup) before PostgreSQL 15), in the same connection that started it.
  - C(backup_label) and C(tablespace_map) are stored durably with the session and in the repository, byte for byte, before the module answers.
    Never into the live data directory.
  - Fails when the backup cannot be restored. It says what happened to it, when, and whether the server is still in backup mode.
  - Asked again, it gives the same answer.
  - It does not wait for the WAL archive. Use M(backstay.postgresql.wal_fetch) afterwards, which completes the backup.
  - With O(row_counts) or O(freshness) it then counts, outside backup mode, the rows that every restore of the backup must have, so that
    M(backstay.postgresql.backup_verify) can compare them.
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
      - The session that RV(backstay.postgresql.backup_start#module:session) named.
    type: str
    required: true
  wait_timeout:
    description:
      - Seconds that stopping may take.
    type: int
    default: 300
  row_counts:
    description:
      - V(exact) counts the rows of every permanent table in every database after the backup has stopped, and stores the counts with the backup,
        in C(row_counts.json).
      - Counted are only rows that had been committed when the backup stopped and are still there. Whatever is written meanwhile, a restore of
        the backup has at least these, so that fewer rows are always a fault. While transactions that write run for long, rows that are younger
        than the oldest of them are not counted.
      - Every table is read once, one after another, in a statement of its own. Partitions are counted by themselves. Temporary, unlogged and
        foreign tables and materialized views are not.
      - A table that cannot be counted is a warning. The backup is good without.
    type: str
    choices: [none, exact]
    default: none
  freshness:
    description:
      - Columns whose newest value is stored with the backup, as a time of creation or a growing number. It is taken from the rows that every
        restore must have, and M(backstay.postgresql.backup_verify) fails when a restored table has only older ones.
      - Without O(row_counts=exact), only the tables named here are read.
    type: list
    elements: dict
    suboptions:
      database:
        description:
          - The database.
        type: str
        required: true
      schema:
        description:
          - The schema.
        type: str
        default: public
      table:
        description:
          - The table, or a partition. A partitioned table holds no rows itself.
        type: str
        required: true
      column:
        description:
          - The column, of a type of times, dates or numbers.
        type: str
        required: true
  row_counts_timeout:
    description:
      - Seconds that counting may take, of all databases together, the smallest tables first. What is not counted by then is a warning.
      - The keeper holds the backup's WAL meanwhile, until the O(backstay.postgresql.backup_start#module:max_duration) of the session is over.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - Needs no connection of its own to the server, except for O(row_counts) and O(freshness). Only root and the user of the keeper may end its
    session.
  - A role that counts rows needs C(SELECT) on the tables, which from PostgreSQL 14 on the role C(pg_read_all_data) gives, and a line in
    C(pg_hba.conf) for each database.
  - The role that the session was started with needs C(EXECUTE) on C(pg_catalog.pg_backup_stop(boolean)), or before PostgreSQL 15 on
    C(pg_catalog.pg_stop_backup(boolean, boolean)).
seealso:
  - module: backstay.postgresql.backup_start
  - module: backstay.postgresql.wal_fetch
"""

EXAMPLES = r"""
- name: Stop the backup
  backstay.postgresql.backup_stop:
    session: "{{ backup.session }}"
  register: stopped
  become: true
  become_user: postgres

- name: Stop the backup, and count what every restore of it must have
  backstay.postgresql.backup_stop:
    session: "{{ backup.session }}"
    row_counts: exact
    row_counts_timeout: 1800
    freshness:
      - database: shop
        table: orders
        column: created_at
  register: stopped
  become: true
  become_user: postgres
"""

RETURN = r"""
backup_label:
  description: Content of C(backup_label).
  type: str
  returned: success, not in check mode
  sample: "START WAL LOCATION: 0/3000028 (file 000000010000000000000003)\nCHECKPOINT LOCATION: 0/3000060\n"
backup_label_base64:
  description: The same, byte for byte, in Base64.
  type: str
  returned: success, not in check mode
  sample: U1RBUlQgV0FMIExPQ0FUSU9OOiAwLzMwMDAwMjgK
tablespace_map:
  description: Content of C(tablespace_map), empty where there are no tablespaces.
  type: str
  returned: success, not in check mode
  sample: "16385 /srv/fast\n"
tablespace_map_base64:
  description: The same, byte for byte, in Base64.
  type: str
  returned: success, not in check mode
  sample: MTYzODUgL3Nydi9mYXN0Cg==
start_lsn:
  description: LSN where the backup starts.
  type: str
  returned: success
  sample: 0/3000028
stop_lsn:
  description: LSN where the backup ends. Recovery must replay WAL at least to here.
  type: str
  returned: success
  sample: 0/3000138
stop_time:
  description: When the backup stopped, in UTC.
  type: str
  returned: success, not in check mode
  sample: "2026-11-21T03:15:10.123456Z"
timeline:
  description: Timeline that the backup was taken on.
  type: int
  returned: success
  sample: 1
wal_start_segment:
  description: Name of the first WAL segment that the backup needs.
  type: str
  returned: success, not in check mode
  sample: "000000010000000000000003"
wal_stop_segment:
  description: Name of the last WAL segment that the backup needs.
  type: str
  returned: success, not in check mode
  sample: "000000010000000000000003"
wal_segments:
  description: How many WAL segments the backup needs.
  type: int
  returned: success, not in check mode
  sample: 1
session:
  description: The session.
  type: str
  returned: success
  sample: main.20261121T031500Z-3f9c
backup_id:
  description: Name of the backup in the repository.
  type: str
  returned: success
  sample: 20261121T031500Z-3f9c
state:
  description: State of the session, V(stopped), or V(complete) when asked again after M(backstay.postgresql.wal_fetch).
  type: str
  returned: success
  sample: stopped
manifest:
  description: Path of the backup's manifest in the repository.
  type: str
  returned: success, not in check mode
  sample: /var/backups/postgresql/main/backups/20261121T031500Z-3f9c/backup.json
row_counts:
  description: What was counted. Null when nothing was asked for, or counting failed as a whole, of which a warning tells.
  type: dict
  returned: success, not in check mode
  contains:
    path:
      description: The file with the counts.
      type: str
      sample: /var/backups/postgresql/main/backups/20261121T031500Z-3f9c/row_counts.json
    tables:
      description: How many tables were counted.
      type: int
      sample: 42
    rows:
      description: How many rows every restore must have, in all of them together.
      type: int
      sample: 1000080
    not_counted:
      description: What could not be counted.
      type: list
      elements: dict
      contains:
        what:
          description: A database, or a table as C(database.schema.table).
          type: str
          sample: shop.public.secrets
        reason:
          description: Why.
          type: str
          sample: "could not count the rows: ERROR: canceling statement due to lock timeout"
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
  sample: backup_aborted
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
backup_mode:
  description: Whether the server is in backup mode for the session after the failure, V("on"), V("off") or V(unknown).
  type: str
  returned: failure
  sample: "off"
"""
