# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
notes:
  - Every module accepts the login options, so that C(module_defaults) of the group C(backstay.postgresql.all) can give them once.
    A module that works through a session does not connect itself, it uses the connection that the session's keeper holds.
options:
  login_host:
    description:
      - Host name or address of the server, or the directory of its socket when it begins with a slash.
      - When neither this nor O(login_unix_socket) is given, E(PGHOST) is used, and the socket of the machine when that is not set either.
    type: str
    aliases:
      - host
  login_port:
    description:
      - Port of the server, which also names its socket.
      - When not given, E(PGPORT) is used, else V(5432).
    type: int
    aliases:
      - port
  login_user:
    description:
      - Name of the role to log in as.
      - When not given, E(PGUSER) is used, else V(postgres).
    type: str
    aliases:
      - login
  login_password:
    description:
      - Password of the role. It is masked in every reply.
      - When not given, E(PGPASSWORD) is used, else the password file (E(PGPASSFILE), else C(~/.pgpass) of the user that the task runs as).
      - Prefer this option over E(PGPASSWORD) in the C(environment) of a task, which shows in the process list of the target.
    type: str
  login_unix_socket:
    description:
      - Directory of the server's Unix-domain socket.
    type: str
    aliases:
      - unix_socket
  login_db:
    description:
      - Database to connect to. Which one makes no difference to a backup.
      - When not given, E(PGDATABASE) is used, else V(postgres).
    type: str
    aliases:
      - db
  ssl_mode:
    description:
      - Whether and how the connection is secured with TLS, in the words of libpq's C(sslmode).
      - V(verify-full) also checks that the certificate is the server's own.
      - When not given, E(PGSSLMODE) is used, else V(prefer).
    type: str
    choices:
      - disable
      - allow
      - prefer
      - require
      - verify-ca
      - verify-full
  ca_cert:
    description:
      - File on the target with the certificates of the authorities that are trusted, in PEM format.
    type: path
    aliases:
      - ssl_rootcert
  ssl_cert:
    description:
      - File on the target with the client's certificate, in PEM format.
    type: path
  ssl_key:
    description:
      - File on the target with the key of the client's certificate, in PEM format.
    type: path
  connect_params:
    description:
      - Further parameters of the connection, by their libpq names.
      - V(channel_binding), V(connect_timeout), V(hostaddr), V(keepalives), V(keepalives_count), V(keepalives_idle), V(keepalives_interval),
        V(options) and V(tcp_user_timeout) are understood.
      - What has an option above is refused here.
    type: dict
"""
