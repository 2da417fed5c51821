# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits in slices, so that the play says meanwhile how far it is. What the slices do is the program's."""

from __future__ import annotations

import math
import time

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.utils.display import Display

from ansible_collections.backstay.postgresql.plugins.plugin_utils.native import NativeAction

SLICE = 20  # seconds: often enough for who looks at it, and one more connection each


def said(reply):
    """How far the upload is, for people."""
    estimate = reply.get("estimate")
    if estimate is None:
        return "snapshots %s %% uploaded" % reply.get("progress", 0)
    if estimate < 90:
        left = "%d s" % max(1, math.ceil(estimate))
    elif estimate < 5400:
        left = "%d min" % round(estimate / 60)
    else:
        left = "%.1f h" % (estimate / 3600)
    return "snapshots %s %% uploaded, about %s left" % (reply.get("progress", 0), left)


class ActionModule(NativeAction):
    MODULE = "backstay.postgresql.ebs_snapshot_wait"
    TOOL = "backstay-ebs"

    def _request(self, args):
        try:
            total, slice_ = int(args.get("wait_timeout", 3600)), max(SLICE, int(args.get("delay", 15)))
            waits = boolean(args.get("wait", True))
        except (TypeError, ValueError):
            waits = False  # not for us to complain of
        # With async nobody is there to be told: the background job waits by itself.
        if not waits or self._task.async_val or self._task.check_mode:
            return super()._request(args)
        end, shown, changed, warnings = time.monotonic() + total, None, False, []
        while True:
            left = math.ceil(end - time.monotonic())
            reply = super()._request(dict(args, wait_timeout=max(min(slice_, left), min(total, 0))))
            changed = changed or bool(reply.get("changed"))
            warnings += [warning for warning in reply.get("warnings") or [] if warning not in warnings]
            if reply.get("failed") or reply.get("state") != "uploading" or left <= slice_:
                return dict(reply, changed=changed, **({"warnings": warnings} if warnings else {}))
            if said(reply) != shown and not self._task.no_log:
                shown = said(reply)
                # standard error, since a callback may make JSON of standard output
                Display().display("%s: %s" % (self._vars.get("inventory_hostname"), shown), stderr=True)
