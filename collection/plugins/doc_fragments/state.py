# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  state_directory:
    description:
      - Directory on the target where session records are kept. They survive a reboot, and every task of a backup must name the same one.
      - When not given, it is C(/var/lib/backstay) for root, and C(${XDG_STATE_HOME:-~/.local/state}/backstay) for any other user.
    type: path
"""
