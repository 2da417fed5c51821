# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.backstay.postgresql.plugins.plugin_utils.native import NativeAction


class ActionModule(NativeAction):
    MODULE = "backstay.postgresql.backup_verify"
