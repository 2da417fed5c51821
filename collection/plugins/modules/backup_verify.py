#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The code is in the collection's compiled program. This file is its documentation.
# It is longer than 400 lines because all options, examples and return values of a module stand in one file.
from __future__ import annotations

DOCUMENTATION = r"""
module: backup_verify
short_description: Proves a backup by restoring it in a sandbox, and says how long a recovery takes
version_added: 0.1.0
description:
  - Restores a backup to a throw-away copy, starts a server on it that can reach nothing but one socket, checks what it has recovered, and removes all of
    it again.
  - Each check is one line of the result, either V(ok), V(failed), or V(skipped) with the reason. What was skipped is not proved, and C(not_proved) says so.
  - The time of the recovery is measured in its parts, and the age of the data is that of the last commit that was replayed.
  - The backup may be one in a repository, or a directory that C(pg_basebackup) has written, plain or as tar files, also from a standby.
  - The restored server runs on a configuration of the module's own, never on the restored one. It archives nothing, replicates from nobody and starts
    no workers. The files of the backup are not changed.
  - The report is stored as JSON and as one page that can be read, mailed and printed.
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
      - Where the backup is, either a C(file://) URL or an absolute path on the target.
      - Mutually exclusive with O(path). One of the two is required.
    type: str
  cluster:
    description:
      - Name of the database cluster's folder in the repository.
    type: str
    default: main
  backup_id:
    description:
      - Name of the backup in the repository.
      - When not given, it is the newest complete one.
    type: str
  path:
    description:
      - Directory that C(pg_basebackup) has written.
      - Either in its plain format, or as C(base.tar), C(pg_wal.tar) and a tar file for each tablespace, compressed with gzip, zstd or lz4 or not at all.
      - C(backup_manifest) is used when it is there.
      - Mutually exclusive with O(repository). One of the two is required.
    type: path
  data_directory:
    description:
      - With O(repository), the data directory on volumes that were made from the snapshots of the backup and are mounted, as
        M(backstay.postgresql.ebs_restore) returns it.
      - The volumes are throw-aways. They must be mounted read-write, and with O(materialize=in_place) they are changed.
    type: path
  tablespace_mapping:
    description:
      - With O(data_directory), where the tablespaces are now, by where they were, as M(backstay.postgresql.ebs_restore) returns it.
    type: dict
  level:
    description:
      - How much is proved. Each level contains those before it.
      - V(manifest) compares files and checksums, label, control file and WAL, without a server.
      - V(recover) recovers a server from the backup to the end of its WAL, connects to each of its databases, looks for missing libraries and changed
        collations, and runs O(queries).
      - V(read) reads every row. It compares row counts with those recorded at backup time, dumps everything to nothing, and verifies page checksums.
      - V(full) compares every index with its table (C(pg_amcheck) with C(--heapallindexed)).
    type: str
    choices:
      - manifest
      - recover
      - read
      - full
    default: recover
  materialize:
    description:
      - How the writable copy is made.
      - V(snapshot) is a writable snapshot of a btrfs subvolume, V(reflink) a copy that shares its blocks with the backup, V(overlay) a layer over the files
        of the backup, V(copy) a full copy.
      - V(in_place) starts the server on the files in O(data_directory) themselves, and changes them.
      - V(auto) takes the fastest that is possible, and no overlay where reading would copy every file after all. The result says which, and why.
      - Tar files are unpacked, whatever this says.
    type: str
    choices:
      - auto
      - snapshot
      - reflink
      - overlay
      - copy
      - in_place
    default: auto
  work_directory:
    description:
      - Directory for the copy. What is made in it is removed again.
      - When not given, it is beside the backup where that shares a file system that can clone files, else C(drills) in O(state_directory).
    type: path
  sandbox:
    description:
      - What the server runs in.
      - V(namespaces) needs no program but the module, as root or as a user who may make user namespaces. The others need what they are named after.
      - V(process) isolates nothing. It must be asked for by name, and the result says C(isolation=none).
      - V(auto) is V(namespaces). Where that is not allowed, the task fails and names the remedies.
    type: str
    choices:
      - auto
      - namespaces
      - lxc
      - nspawn
      - podman
      - docker
      - bubblewrap
      - process
    default: auto
  bin_dir:
    description:
      - Directory of the server's programs, which must be of the major version of the backup.
      - When not given, it is looked for in the usual places of distributions and in E(PATH).
    type: path
  os_user:
    description:
      - Operating-system user that the server runs as. Only root can choose another than itself.
      - When not given, it is the owner of the files, or V(postgres) when they belong to root.
    type: str
  superuser:
    description:
      - Name of a superuser of the restored database cluster, as whom the module connects to it. No password is needed in the sandbox.
    type: str
    default: postgres
  restore_command:
    description:
      - Command that fetches WAL which is later than that of the backup.
      - The module runs it outside the sandbox, when recovery asks for a segment. Credentials and network are needed there only.
      - When not given, recovery has only the WAL in the backup.
    type: str
  preload_libraries:
    description:
      - Libraries for C(shared_preload_libraries), such as those with a resource manager of their own for WAL.
      - When not given, none is loaded.
    type: list
    elements: str
  settings:
    description:
      - Further settings of the restored server, such as C(shared_buffers). Those that keep it apart cannot be changed.
    type: dict
  max_age:
    description:
      - How old the data may be, as V(26h), V(1d), V(90min) or a number of seconds. When it is older, the check C(max_age) fails.
      - The age is counted from the last commit that was replayed to the start of the drill, and without such a commit from the stop of the backup, or
        from its checkpoint when the stop is not known. With O(freshness), it is counted from what the queries return, and each of them must be young
        enough.
      - When not given, the age is measured and the check is skipped.
    type: str
  max_recovery_time:
    description:
      - How long the recovery may take, written as O(max_age). When it takes longer, the check C(max_recovery_time) fails.
      - When not given, the time is measured and the check is skipped.
    type: str
  queries:
    description:
      - Queries of your own, each of which is a part of the check C(queries). They run in read-only transactions.
      - One without any expectation must not fail and must return at least one row.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - What the result calls it. When not given, it is the query itself.
        type: str
      database:
        description:
          - Database to run it in.
        type: str
        required: true
      query:
        description:
          - The statement.
        type: str
        required: true
      expect:
        description:
          - What it must return, either one value, which is compared with the first column of the only row, or a list of rows.
        type: raw
      min:
        description:
          - Least value of the first column of the only row, a number or a time.
        type: raw
      max:
        description:
          - Greatest value of the first column of the only row, a number or a time.
        type: raw
  freshness:
    description:
      - Queries that each return one time, the newest of a table that is written to all the time. See O(max_age).
      - A time without a time zone is taken to be in the time zone of the database.
    type: list
    elements: dict
    suboptions:
      database:
        description:
          - Database to run it in.
        type: str
        required: true
      query:
        description:
          - The statement.
        type: str
        required: true
  wait_timeout:
    description:
      - Seconds without progress of recovery after which the drill fails.
    type: int
    default: 300
  timeout:
    description:
      - Seconds that the whole drill may take. With V(0) there is no limit.
    type: int
    default: 0
  jobs:
    description:
      - How many files are compared or copied, and how many indexes are read, at the same time.
      - When not given, it is the number of processors, at most 4.
    type: int
  self_test:
    description:
      - Whether the module damages its own copy and expects the checks to fail. The task succeeds when they do.
      - It proves that the checks work on this host, and says nothing of the backup. It does not count as its last proof.
    type: bool
    default: false
  report_only:
    description:
      - Whether the task succeeds although checks fail. C(verdict) has what the drill came to.
      - When no drill can be made, because there is no such backup or no sandbox, the task fails in any case.
    type: bool
    default: false
  keep:
    description:
      - Whether the server and its copy are left as they are, to look at them. C(psql) is the command line that enters it.
      - They go when the process C(sandbox_pid) is ended, with C(kill), or when the host restarts.
    type: bool
    default: false
  report_directory:
    description:
      - Directory for the report.
      - When not given, it is C(verifications) beside the manifest of the backup, where M(backstay.postgresql.backup_info) finds it. With O(path), no report
        is written.
    type: path
attributes:
  check_mode:
    support: full
    details:
      - It looks for the backup, the programs and the way to make a copy, and makes no drill.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each run is a drill of its own with a report of its own.
notes:
  - The login options are accepted and not used, so that C(module_defaults) can set them for all modules. The module connects to no server but the one that
    it has started.
  - Run it on another host than the database server, where it takes nothing from it. That host needs PostgreSQL's programs of the same major version.
  - The user of the task must be able to read the backup, and to write into the repository, where the report goes.
  - Nothing stays behind after a failure, a timeout, or the end of the module by a signal. What a power cut left is removed by the next drill.
  - The first lines of the playbook C(backstay.postgresql.verify_backup) list its variables. It makes a drill of the newest backup of every cluster.
seealso:
  - module: backstay.postgresql.backup_info
  - module: backstay.postgresql.cluster_restore
  - module: backstay.postgresql.ebs_restore
  - name: pg_verifybackup
    link: https://www.postgresql.org/docs/current/app-pgverifybackup.html
    description: PostgreSQL's own check of a base backup, whose description says that test restores should be made as well.
"""

EXAMPLES = r"""
- name: Prove the newest backup every night, and fail when it is too old or takes too long
  backstay.postgresql.backup_verify:
    repository: /var/backups/postgresql
    max_age: 26h
    max_recovery_time: 15min
  register: drill
  become: true
  become_user: postgres

- name: Tell how long a recovery takes, and what was not proved
  ansible.builtin.debug:
    msg: "recovery takes {{ drill.recovery.total }} s; not proved: {{ drill.not_proved | join(', ') }}"

- name: Prove what pg_basebackup -Ft -Xs -z has written on a standby, with recent rows in a table
  backstay.postgresql.backup_verify:
    path: /var/lib/pgsql/backup
    max_age: 1d
    freshness:
      - database: shop
        query: select max(created_at) from orders
    queries:
      - name: orders of the last day
        database: shop
        query: select count(*) from orders where created_at > (select max(created_at) from orders) - interval '1 day'
        min: 1
      - name: no order without a customer
        database: shop
        query: select count(*) from orders o where not exists (select from customers c where c.id = o.customer_id)
        expect: 0
    report_directory: /var/lib/pgsql/drills
  become: true

- name: Read every row and every index once a week, and go on whatever it comes to
  backstay.postgresql.backup_verify:
    repository: /var/backups/postgresql
    level: full
    report_only: true
  register: drill
  become: true
  become_user: postgres

- name: Make volumes from the EBS snapshots of the newest backup, and mount them
  backstay.postgresql.ebs_restore:
    repository: /var/backups/postgresql
    mount_points:
      /srv/postgresql: /srv/drill
  register: restored
  become: true

- name: Prove the backup on them
  backstay.postgresql.backup_verify:
    repository: /var/backups/postgresql
    backup_id: "{{ restored.backup_id }}"
    data_directory: "{{ restored.data_directory }}"
    tablespace_mapping: "{{ restored.tablespace_mapping }}"
    materialize: in_place
  become: true

- name: See the checks fail on a copy that is damaged on purpose
  backstay.postgresql.backup_verify:
    repository: /var/backups/postgresql
    level: full
    self_test: true
  become: true
  become_user: postgres

- name: Leave the recovered server up, to look for a lost row
  backstay.postgresql.backup_verify:
    repository: /var/backups/postgresql
    backup_id: 20261121T031500Z-3f9c
    keep: true
  register: drill
  become: true
  become_user: postgres

- name: Tell how to enter it
  ansible.builtin.debug:
    msg: "{{ drill.psql }}"
"""

RETURN = r"""
verdict:
  description:
    - What the drill came to, either V(passed), when no check failed, or V(failed).
    - A backup whose drill has passed is proved but for what is in RV(not_proved).
  type: str
  returned: success, not in check mode; and when checks fail
  sample: passed
level:
  description: How much was to be proved.
  type: str
  returned: success; and when checks fail
  sample: recover
backup_id:
  description: Name of the backup in the repository. Null with O(path).
  type: str
  returned: success; and when checks fail
  sample: 20261121T031500Z-3f9c
checks:
  description:
    - Every check of every level, in the order in which they are made.
    - C(files), C(label), C(control_file) and C(wal) are those of the level V(manifest).
    - C(recovery), C(databases), C(libraries), C(collations), C(max_age), C(max_recovery_time) and C(queries) are added by V(recover).
    - C(row_counts), C(dump) and C(page_checksums) are added by V(read), and C(indexes) by V(full). The last one is C(self_test).
  type: list
  elements: dict
  returned: success, not in check mode; and when checks fail
  contains:
    name:
      description: Its name, a stable word.
      type: str
      returned: success
      sample: recovery
    outcome:
      description: One of V(ok), V(failed), V(skipped).
      type: str
      returned: success
      sample: ok
    message:
      description: What was proved, what is wrong, or why it was skipped.
      type: str
      returned: success
      sample: consistent at 0/3000138, end of backup reached, 1 segment replayed
    details:
      description: More of it, such as names of damaged files, at most 100 lines.
      type: list
      elements: str
      returned: success
      sample: []
    findings:
      description: What should be known or done after a real restore although the check did not fail, such as indexes that are to be built anew.
      type: list
      elements: dict
      returned: success
      contains:
        message:
          description: What was found.
          type: str
          returned: success
          sample: Database "shop" was made with collation version 2.36, this host provides 2.41.
        sql:
          description: Statements that mend it.
          type: list
          elements: str
          returned: success
          sample: ['REINDEX DATABASE "shop"', 'ALTER DATABASE "shop" REFRESH COLLATION VERSION']
    seconds:
      description: How long it took.
      type: float
      returned: success
      sample: 1.1
not_proved:
  description: The checks that were skipped, each with its reason.
  type: list
  elements: str
  returned: success, not in check mode; and when checks fail
  sample: ["row_counts: only made at level read and above", "dump: only made at level read and above"]
recovery:
  description: How long the recovery took, in seconds. Null when it did not come to its end, and at O(level=manifest).
  type: dict
  returned: success, not in check mode; and when checks fail
  contains:
    materialise:
      description: Getting the files to their place. Where they were cloned it is short, and a recovery onto other storage takes longer.
      type: float
      returned: success
      sample: 0.1
    consistent:
      description: From the start of the server to the consistent state.
      type: float
      returned: success
      sample: 0.9
    replay:
      description: From the consistent state to the end of WAL.
      type: float
      returned: success
      sample: 0.3
    ready:
      description: From the end of WAL until connections are accepted.
      type: float
      returned: success
      sample: 0.1
    total:
      description: All of it.
      type: float
      returned: success
      sample: 1.4
evidence:
  description: What the recovered server told. Null when there was none.
  type: dict
  returned: success, not in check mode; and when checks fail
  contains:
    replay_lsn:
      description: LSN where replay ended.
      type: str
      returned: success
      sample: 0/3000138
    timeline:
      description: Timeline that was recovered along.
      type: int
      returned: success
      sample: 1
    last_commit:
      description: Time of the last commit that was replayed, in UTC. Null when there was none in the WAL.
      type: str
      returned: success
      sample: "2026-11-21T03:15:09.998Z"
    age:
      description: How old the data was at the start of the drill, in seconds.
      type: float
      returned: success
      sample: 2690.3
    wal_segments:
      description: How many WAL segments recovery asked for.
      type: int
      returned: success
      sample: 1
materialized:
  description: How the writable copy was made. Null when the drill did not come so far.
  type: dict
  returned: success, not in check mode; and when checks fail
  contains:
    way:
      description: One of V(snapshot), V(reflink), V(overlay), V(copy), V(unpack), V(in_place).
      type: str
      returned: success
      sample: reflink
    bytes:
      description: Sizes of the files together.
      type: int
      returned: success
      sample: 44345298944
    bytes_taken:
      description: What the copy really took on disk. Null where that cannot be told.
      type: int
      returned: success
      sample: 17825792
    notes:
      description: Why this way and no faster one.
      type: list
      elements: str
      returned: success
      sample: []
sandbox:
  description: What the server ran in. Null at O(level=manifest).
  type: dict
  returned: success, not in check mode; and when checks fail
  contains:
    kind:
      description: What it was, as O(sandbox) names it.
      type: str
      returned: success
      sample: namespaces
    isolation:
      description: What it was isolated by, one of V(namespaces), V(container), V(none).
      type: str
      returned: success
      sample: namespaces
    user:
      description: User that the server ran as.
      type: str
      returned: success
      sample: postgres
    server_version:
      description: Version of the server that was started.
      type: str
      returned: success
      sample: "16.14"
    bin_dir:
      description: Directory of its programs.
      type: str
      returned: success
      sample: /usr/lib/postgresql/16/bin
report:
  description: The report as JSON, a file on the target. Null when none was written.
  type: str
  returned: success, not in check mode; and when checks fail
  sample: /var/backups/postgresql/main/backups/20261121T031500Z-3f9c/verifications/20261121T040000Z.json
report_html:
  description: The report as a page. Null when none was written.
  type: str
  returned: success, not in check mode; and when checks fail
  sample: /var/backups/postgresql/main/backups/20261121T031500Z-3f9c/verifications/20261121T040000Z.html
subject:
  description:
    - What is known of the backup, such as its C(label), C(system_identifier), C(server_version), C(timeline), C(from_standby), C(start_lsn), C(stop_lsn)
      and their times.
  type: dict
  returned: success; and when checks fail
phases:
  description: What the drill did when, each with C(name), C(begin) and C(seconds), counted in seconds from its start.
  type: list
  elements: dict
  returned: success, not in check mode; and when checks fail
log:
  description: The end of the server's log, when a check failed.
  type: list
  elements: str
  returned: success, not in check mode; and when checks fail
sandbox_pid:
  description: Process that ends the server which was left up, and removes its copy, when it is killed.
  type: int
  returned: with O(keep=true)
  sample: 4711
psql:
  description: Command line that enters the server which was left up, on the target.
  type: str
  returned: with O(keep=true)
  sample: psql -h /var/lib/backstay/drills/5f0c2a4e/socket -U postgres
error_kind:
  description:
    - A stable word that tells what kind of failure it was, and that a playbook may branch on.
    - V(verification_failed) when checks failed.
  type: str
  returned: failure
  sample: verification_failed
hints:
  description: What to do about the failure, in whole sentences. The message has them too.
  type: list
  elements: str
  returned: failure
  sample: ["The report has the details, and the end of the server's log."]
retryable:
  description: Whether the same task may succeed when it is run again.
  type: bool
  returned: failure
  sample: false
"""
