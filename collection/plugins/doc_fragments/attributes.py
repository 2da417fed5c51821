# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and say what would change, without changing anything.
  diff_mode:
    description: Says in diff mode what it changed, or in check mode would change.
  idempotent:
    description: Run again with the same options and nothing changed in between, it changes nothing.
  platform:
    description: Operating systems of the target.
    support: full
    platforms: Linux
"""
