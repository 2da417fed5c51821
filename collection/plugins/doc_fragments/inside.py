# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  container:
    description:
      - Name or id of the container that the server runs in, with Docker or Podman. It is found through the engine's API socket on the target.
      - The server is reached through the container's own socket directory or network, hence needs no published port, and no C(psql) in the image.
        O(login_unix_socket) and the paths that the server names are paths inside.
      - Needs root on the target. A container that is restarted, made anew or paused during a backup is a lost session.
      - Mutually exclusive with O(login_pid).
    type: str
  login_pid:
    description:
      - Id of any process in the server's container, as the target counts processes. It serves every other runtime, such as systemd-nspawn or LXC.
      - Mutually exclusive with O(container).
    type: int
"""
