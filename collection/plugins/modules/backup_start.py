#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
from __future__ import annotations

DOCUMENTATION = r"""
module: backup_start
short_description: Puts a PostgreSQL server into backup mode and keeps it there across tasks
version_added: 0.1.0
description:
  - Starts a backup with C(pg_backup_start) (C(pg_start_backup) before PostgreSQL 15) in a session that outlives the task.
  - A helper process on the target, the keeper, holds the connection until M(backstay.postgresql.backup_stop) or
    M(backstay.postgresql.backup_abort) ends the backup, or until O(max_duration) is over.
  - Before the backup starts, the module checks the server's version, the privileges of the role, C(wal_level), the archiver's health,
    free replication slots, the disk space for its own records, and that no connection pooler stands in between.
  - It returns only when the server is in backup mode.
  - Works with PostgreSQL 13 to 18, on a primary and on a standby.
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
      - Where the backup goes, either a C(file://) URL or an absolute path on the target.
      - The backup is announced there before backup mode is entered.
    type: str
    required: true
  cluster:
    description:
      - Name of the database cluster's folder in the repository, made of letters, digits, V(_) and V(-).
      - A folder belongs to one database cluster for good. Another system identifier is refused.
    type: str
    default: main
  backup_id:
    description:
      - Name of the backup in the repository, made of letters, digits, V(.), V(_) and V(-), at most 100 of them.
      - A name that exists already is refused.
      - When not given, it is made of the time in UTC and a random part, as in V(20261121T031500Z-3f9c).
    type: str
  label:
    description:
      - Label of the backup, as C(backup_label) carries it.
      - When not given, it is the backup id.
    type: str
  fast:
    description:
      - Whether the starting checkpoint runs as fast as it can.
      - With V(false) it is spread out like an ordinary one and takes minutes on a busy server.
    type: bool
    default: true
  max_duration:
    description:
      - Seconds after which the keeper leaves backup mode by itself, so that a play that never comes back leaves nothing behind.
      - The backup is lost then, and M(backstay.postgresql.backup_stop) fails and says so.
    type: int
    default: 3600
  wait_timeout:
    description:
      - Seconds after which a server that is not in backup mode yet is given up, mostly because its starting checkpoint takes long.
    type: int
    default: 3600
  keep_wal:
    description:
      - Whether a temporary replication slot on the keeper's connection keeps the server from removing WAL that the backup needs.
      - It vanishes with the connection. It needs a free slot and a role with the attribute C(REPLICATION).
    type: bool
    default: true
  archiver_check:
    description:
      - What to do when C(archive_command) or C(archive_library) is set and the archiver is failing.
    type: str
    choices:
      - fail
      - warn
      - ignore
    default: fail
  concurrent:
    description:
      - Whether the backup may start while another session of the same state directory holds the database cluster in backup mode.
      - PostgreSQL does not mind. Mostly it is a mistake though, such as a play that was started twice.
    type: bool
    default: false
  take_over:
    description:
      - Whether another session of the same state directory that still holds the database cluster in backup mode is ended first,
        such as one of a play that was killed. Its backup is lost, and its record says why.
    type: bool
    default: false
  os_user:
    description:
      - Operating-system user that the keeper runs as. Only root can choose another than itself.
      - When not given, it is the user of the task. When root connects over a Unix-domain socket, it is the owner of that socket, so that
        peer authentication works for a task that runs as root (C(become=true)).
    type: str
  runtime_directory:
    description:
      - Directory of the keeper's sockets.
      - When not given, it is C(/run/backstay) for root, else C(/run/postgresql/.backstay-<uid>) where C(/run/postgresql) is writable,
        else C(/tmp/.backstay-<uid>).
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each run starts a backup of its own. Only a command that ssh sends twice is answered from the first.
notes:
  - 'The role needs the following unless it is a superuser: C(EXECUTE) on the two functions, the role C(pg_read_all_settings),
    on a standby also C(pg_read_all_stats), and the attribute C(REPLICATION) for O(keep_wal). When something is missing, the message has
    the statements that give it.'
  - 'For PostgreSQL 15 to 18: C(GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean) TO backup_role),
    C(GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_stop(boolean) TO backup_role),
    C(GRANT pg_read_all_settings TO backup_role), on a standby C(GRANT pg_read_all_stats TO backup_role), C(ALTER ROLE backup_role REPLICATION).'
  - 'For PostgreSQL 13 and 14: C(GRANT EXECUTE ON FUNCTION pg_catalog.pg_start_backup(text, boolean, boolean) TO backup_role) and
    C(GRANT EXECUTE ON FUNCTION pg_catalog.pg_stop_backup(boolean, boolean) TO backup_role), with the
    same roles and attribute.'
  - The database grants C(EXECUTE) per database. Grant it in the database that O(login_db) names.
  - Run the task on the host of the server. Connect to the server itself, not to a connection pooler.
  - Use a C(block) with a C(rescue) that calls M(backstay.postgresql.backup_abort), so that a failure never leaves backup mode on.
    The session is C(<cluster>.<backup_id>), hence known before the task when O(backup_id) is given.
  - The limit of C(async) is for the start only. The keeper goes on by itself.
seealso:
  - module: backstay.postgresql.snapshot_create
  - module: backstay.postgresql.backup_stop
  - module: backstay.postgresql.backup_abort
  - name: Making a Base Backup Using the Low Level API
    link: https://www.postgresql.org/docs/current/continuous-archiving.html
    description: What PostgreSQL asks of a backup program.
"""

EXAMPLES = r"""
- name: Start a backup
  backstay.postgresql.backup_start:
    repository: /var/backups/postgresql
    label: nightly
  register: backup
  become: true
  become_user: postgres

- name: Start a backup with a name of our own, as root, over TLS
  backstay.postgresql.backup_start:
    repository: file:///var/backups/postgresql
    cluster: orders
    backup_id: orders-before-release-12
    os_user: postgres
    login_host: db1.example.com
    login_user: backup_role
    login_password: "{{ backup_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/company-ca.pem
    max_duration: 1800
  become: true

- name: Start a backup of a server in a container, whatever an earlier play left
  backstay.postgresql.backup_start:
    repository: /var/backups/postgresql
    container: orders-db
    take_over: true
  become: true

- name: Start a backup that may take long to reach its checkpoint
  backstay.postgresql.backup_start:
    repository: /var/backups/postgresql
    fast: false
    wait_timeout: 7200
    max_duration: 14400
  become: true
  become_user: postgres
"""

RETURN = r"""
session:
  description: The handle of the session, C(<cluster>.<backup_id>), which the following tasks pass on.
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
label:
  description: Label of the backup.
  type: str
  returned: success
  sample: nightly
repository:
  description: The repository, as it was given.
  type: str
  returned: success
  sample: /var/backups/postgresql
state:
  description: State of the session. V(starting) in check mode.
  type: str
  returned: success
  sample: in_progress
start_lsn:
  description: LSN where the backup starts.
  type: str
  returned: success, not in check mode
  sample: 0/3000028
start_time:
  description: When the backup started, in UTC.
  type: str
  returned: success, not in check mode
  sample: "2026-11-21T03:15:00.123456Z"
timeline:
  description: Timeline of the server.
  type: int
  returned: success
  sample: 1
wal_start_segment:
  description: Name of the first WAL segment that the backup needs.
  type: str
  returned: success, not in check mode
  sample: "000000010000000000000003"
system_identifier:
  description: System identifier of the database cluster. It is text, since it does not fit every JSON number.
  type: str
  returned: success
  sample: "7343434343434343434"
server_version:
  description: Version of the server.
  type: str
  returned: success
  sample: "15.18"
data_directory:
  description: Data directory of the server.
  type: str
  returned: success
  sample: /var/lib/postgresql/15/main
wal_directory:
  description: Where C(pg_wal) really is, links resolved.
  type: str
  returned: success
  sample: /var/lib/postgresql/15/main/pg_wal
wal_segment_size:
  description: Size of a WAL segment in bytes.
  type: int
  returned: success
  sample: 16777216
tablespaces:
  description: Tablespaces outside the data directory.
  type: list
  elements: dict
  returned: success
  sample: [{"oid": 16385, "name": "fast", "location": "/srv/fast"}]
  contains:
    oid:
      description: Object id of the tablespace.
      type: int
      returned: success
      sample: 16385
    name:
      description: Name of the tablespace.
      type: str
      returned: success
      sample: fast
    location:
      description: Directory of the tablespace.
      type: str
      returned: success
      sample: /srv/fast
in_recovery:
  description: Whether the server is a standby.
  type: bool
  returned: success
  sample: false
slot:
  description: Name of the temporary replication slot, or null.
  type: str
  returned: success, not in check mode
  sample: backstay_main_20261121t031500z_3f9c
keeper_pid:
  description: Process id of the keeper.
  type: int
  returned: success, not in check mode
  sample: 4242
deadline:
  description: When the keeper leaves backup mode by itself, in UTC.
  type: str
  returned: success, not in check mode
  sample: "2026-11-21T04:15:00.123Z"
missing_grants:
  description: The statements by which a superuser gives the role what it lacks.
  type: list
  elements: str
  returned: when privileges are missing
  sample: ["GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean) TO backup_role;", "ALTER ROLE backup_role REPLICATION;"]
error_kind:
  description: A stable word that tells what kind of failure it was, and that a playbook may branch on.
  type: str
  returned: failure
  sample: insufficient_privilege
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["Give the server's own socket directory or port."]
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
