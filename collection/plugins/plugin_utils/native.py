# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one of the collection's compiled programs on the target: one round trip when it is there already.

The request (the task's options and Ansible's own keys, as JSON) goes to the program's standard
input; nothing of it is ever in a command line, an environment or, where the connection can pipe,
a file. The program is kept on the target under its SHA-256. A target that lacks it answers with a
line that begins with MISS; then the program is sent, and the same request again. Where the
connection or the become method cannot pipe (su), files in Ansible's temporary directory (0700) do
what the pipe does elsewhere; the program removes the request's file when it has read it, and
Ansible the directory.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import re
import shlex

from collections.abc import Mapping, Sequence, Set

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

ROOT = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", ".."))
FOLDER = "backstay"  # of the cache, whichever program it is
SHORT = 32  # so many digits of its SHA-256 are in the name of a cached program
MISS = "BACKSTAY-MISS"
CACHE_VARIABLE = "backstay_cache_dir"
UNAME = {"aarch64": '"Linux aarch64"|"Linux arm64"'}  # what else `uname -sm` says of a build's machine
NO_TTY = re.compile(r"must have a tty|no tty present", re.IGNORECASE)
MASK = "********"

# The scripts below run as the become user. They stay on one line and without backslashes, since a
# login shell that is csh or fish hands them on. On the warm path nothing is started but `uname`,
# `ls` and the program.
#
# A directory is good when it is a real one, ours, and nobody else may write into it. The one in
# HOME counts only where HOME is ours too, as it is not after a sudo that keeps it. Everything is
# tested before use and the names in /var/tmp and /dev/shm cannot be renamed by others (sticky bit).
PLACES = (
    'good() {{ [ -d "$1" ] && [ -O "$1" ] && [ ! -L "$1" ] && case "$(ls -ld "$1")" in d????-??-*) ;; *) false ;; esac; }}; '
    'h=; case "${{XDG_CACHE_HOME-}}" in /*) h=$XDG_CACHE_HOME ;; *) [ -n "${{HOME-}}" ] && [ -O "$HOME" ] && h=$HOME/.cache ;; esac; '
)
EACH_PLACE = (
    'for d in {own} ${{h:+"$h/{folder}"}} /var/tmp/.{folder}- /dev/shm/.{folder}-; do '
    'case "$d" in */.{folder}-) d=$d$(id -u) ;; esac; '
)
EACH_FOUND = (
    'm=$(uname -sm); n=; case "$m" in {cases} esac; if [ -n "$n" ]; then ' + EACH_PLACE +
    'f=$d/$n; if [ -f "$f" ] && [ -x "$f" ] && [ -O "$f" ] && [ ! -L "$f" ] && good "$d"; then '
)
PROBE = PLACES + EACH_FOUND + 'exec "$f" run {request}; fi; done; fi; {drain}echo "{miss} $m"'
# Asked only when the program gave no result: a file that is not what was installed is removed.
CHECK = PLACES + 'command -v sha256sum >/dev/null 2>&1 || exit 0; ' + EACH_FOUND + (
    'case "$(sha256sum < "$f")" in "${{n#{tool}-}}"*) exit 0 ;; esac; rm -f "$f"; fi; done; fi; echo "{miss} $m"'
)
# The program comes on standard input, or is the file $src. The first directory that lets it run
# keeps it: one that is noexec, read-only or full is passed over. Standard input can be read only
# once, so a directory that turns out full while reading is skipped by a second call (`skip`).
# Input that is left is drained: ssh takes a broken pipe for an unreachable host. What is cleaned up
# has a name of the program's own length: "backstay-*" would be "backstay-ebs-..." too.
INSTALL = PLACES + (
    'umask 077; src={program}; first=; why=; k=0; ' + EACH_PLACE + 'k=$((k+1)); [ "$k" -gt {skip} ] || continue; mkdir -p "$d" 2>/dev/null; '
    'good "$d" || {{ why="$why; $d is missing, or not a directory that is ours alone"; continue; }}; '
    '[ -w "$d" ] || {{ why="$why; $d is not writable"; continue; }}; t=$d/.{name}.{nonce}; '
    'if [ -n "$src" ]; then cp "$src" "$t" 2>/dev/null || {{ rm -f "$t"; why="$why; $d is full"; continue; }}; '
    'else cat 2>/dev/null > "$t" || {{ rm -f "$t"; {drain}echo "{miss} full $k $d"; exit 0; }}; src=$t; first=$t; fi; '
    's=$(wc -c < "$t"); if [ "$((s))" != {size} ]; then rm -f "$t"; echo "{miss} damaged $d: $((s)) bytes arrived instead of {size}"; exit 0; fi; '
    'if command -v sha256sum >/dev/null 2>&1; then s=$(sha256sum < "$t"); '
    'case "$s" in {sha}*) ;; *) rm -f "$t"; echo "{miss} damaged $d: SHA-256 ${{s%% *}} instead of {sha}"; exit 0 ;; esac; fi; '
    'chmod 0700 "$t"; if e=$("$t" version 2>&1 </dev/null); then mv -f "$t" "$d/{name}"; [ -z "$first" ] || rm -f "$first"; '
    'find "$d" -type f -name "{tool}-{any}" ! -name "{name}" -mtime +30 -exec rm -f {{}} + 2>/dev/null; '
    'find "$d" -type f -name ".{tool}-{any}.*" -mtime +1 -exec rm -f {{}} + 2>/dev/null; echo "{miss} installed $d"; exit 0; fi; '
    'why="$why; in $d it does not start: $e"; [ "$t" = "$first" ] || rm -f "$t"; done; [ -z "$first" ] || rm -f "$first"; '
    '[ -n "$src" ] || {{ :; {drain}}}; echo "{miss} nowhere${{why#;}}"'
)


class Refusal(Exception):
    """A failure found on this end, told in the same words as the program's own failures."""

    def __init__(self, kind, msg, hints=(), **values):
        super().__init__(msg)
        text = "\n".join([msg] + ["HINT: %s" % hint for hint in hints])
        self.result = dict(values, failed=True, changed=False, msg=text, error_kind=kind, hints=list(hints), retryable=False)


class Missing(Exception):
    """The target does not have the program; `machine` is its `uname -sm`."""

    def __init__(self, machine):
        super().__init__(machine)
        self.machine = machine


def plain(value, where="the options"):
    """Copies a task argument into what JSON knows: YAML dates become ISO 8601, sets sorted lists, vault values text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refusal("invalid_argument", "%s holds %r, which is no number that JSON can say" % (where, value))
        return float(value)
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as exc:
            raise Refusal("invalid_argument", "%s holds text that is not valid UTF-8: %s" % (where, exc.reason)) from exc
        return str(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError as exc:
            raise Refusal("invalid_argument", "%s holds bytes that are not valid UTF-8: %s" % (where, exc.reason)) from exc
    if isinstance(value, Mapping):
        return {_key(k): plain(v, '"%s"' % k if where == "the options" else where) for k, v in value.items()}
    if isinstance(value, Set):
        return [plain(item, where) for item in sorted(value, key=str)]
    if isinstance(value, Sequence) and not hasattr(value, "vault"):  # ansible-core before 2.19 has vault values that look like sequences
        return [plain(item, where) for item in value]
    return str(value)


def _key(key):
    """A key of a mapping as text, in JSON's words where YAML made something else of it."""
    return key if isinstance(key, str) else json.dumps(key) if key is None or isinstance(key, (bool, int)) else str(key)


def secrets_of(value, named=False):
    """The texts in a request that must not be shown: what stands under a name like login_password."""
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in secrets_of(v, named or re.search(r"pass|secret|token", k) is not None)]
    if isinstance(value, list):
        return [s for item in value for s in secrets_of(item, named)]
    return [str(value)] if named and isinstance(value, (str, int)) and not isinstance(value, bool) and str(value) else []


class NativeAction(ActionBase):
    """Base of every action plugin of the collection. A subclass names its module and, when that is in another program, its tool."""

    MODULE = ""
    TOOL = "backstay"
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        del tmp
        self._vars = task_vars or {}
        self._force_files = False
        try:
            result.update(self._reply())
        except Refusal as refusal:
            result.update(refusal.result)
        return result

    def cleanup(self, force=False):
        """The program has read its files when it answers, with async too: nothing need stay behind."""
        super().cleanup(force=True)

    # -- one request ------------------------------------------------------------------------------------------

    def _reply(self):
        if getattr(self._connection._shell, "_IS_WINDOWS", False):
            raise Refusal("unsupported_platform", "the target is a Windows host; this collection runs on Linux")
        self._builds = self._manifest()
        self._own = self._own_place()
        return self._request(plain(dict(self._task.args)))

    def _request(self, args):
        """One request with these options, which are plain, and its reply."""
        self._secrets = sorted(set(secrets_of(args)), key=len, reverse=True)
        self._update_module_args(self.MODULE, args, self._vars)
        # Made once for each run of the action. ssh may run a command twice; the program answers the second from the first.
        args["_backstay_request_id"] = self._nonce = os.urandom(16).hex()
        request = json.dumps(plain(args), ensure_ascii=False, allow_nan=False).encode("utf-8")
        try:
            return self._ask(request)
        except Missing as missing:
            self._install(missing.machine)
        try:
            return self._ask(request)
        except Missing as missing:
            raise Refusal("program_failed", "the program was installed on the target (%s) but cannot be run there" % missing.machine) from missing

    def _ask(self, request):
        cases = " ".join("%s) n=%s ;;" % (UNAME.get(machine, '"Linux %s"' % machine), self._name(build)) for machine, build in sorted(self._builds.items()))
        extra = []
        if self._task.async_val:
            job = "j%d" % (int(self._nonce[:10], 16))
            extra += ["--async", job, str(int(self._task.async_val)), shlex.quote(self.get_shell_option("async_dir", default="~/.ansible_async"))]
        res, said = self._run(PROBE, request, lambda path: " ".join(extra + (["--args", path] if path else [])), "request", cases=cases)
        if said is not None:
            raise Missing(said)
        reply = self._parse(res)
        if reply is not None:
            return reply
        dummy, said = self._run(CHECK, cases=cases)
        if said is not None:  # the file was damaged, so this cannot have been our program
            raise Missing(said)
        raise Refusal(
            "program_failed", "the program gave no result (exit status %s): %s" % (res["rc"], self._mask(self._last_words(res)) or "it said nothing"),
            rc=res["rc"], module_stdout=self._mask(res["stdout"][-4000:]), module_stderr=self._mask(res["stderr"][-4000:]),
        )

    @staticmethod
    def _parse(res):
        """The reply: the last line that begins with a brace, whatever a login banner or a library said around it."""
        for line in reversed(res["stdout"].split("\n")):  # not splitlines(): JSON text may hold U+2028 and its like
            if line.startswith("{"):
                try:
                    reply = json.loads(line)
                except ValueError:
                    return None
                return {k: v for k, v in reply.items() if not k.startswith("_ansible_")} if isinstance(reply, dict) else None
        return None

    @staticmethod
    def _last_words(res):
        return " ".join((res["stderr"].strip() or res["stdout"].strip())[-500:].split())

    def _mask(self, text):
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    # -- the program ------------------------------------------------------------------------------------------

    def _manifest(self):
        """The builds of this module's program: path, size and SHA-256 by machine."""
        try:
            with open(os.path.join(ROOT, "native", "manifest.json"), encoding="utf-8") as f:
                tools = json.load(f)["tools"]
            if self.TOOL in tools:
                return tools[self.TOOL]["builds"]
        except FileNotFoundError as exc:
            raise self._incomplete("native/manifest.json") from exc
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise Refusal("program_missing", "could not read native/manifest.json of the collection: %s" % exc) from exc
        raise Refusal("program_missing", 'this collection was built without "%s", which has the module %s' % (self.TOOL, self.MODULE), [
            'Install the collection from a release tarball, or build it with "cargo xtask collection" where BACKSTAY_WITHOUT_EBS is not set.'])

    @staticmethod
    def _incomplete(path):
        return Refusal("program_missing", "the collection lacks its compiled program: %s is not there" % path, [
            "A checkout of the sources has no compiled program. Install the collection from a release tarball with "
            '"ansible-galaxy collection install", or build one with "cargo xtask collection".'])

    def _name(self, build):
        return "%s-%s" % (self.TOOL, build["sha256"][:SHORT])

    def _install(self, machine):
        system, dummy, hardware = machine.partition(" ")
        build = self._builds.get({"arm64": "aarch64"}.get(hardware, hardware)) if system == "Linux" else None
        if not build:
            raise Refusal("unsupported_platform", 'the target is "%s", and this collection has a program for %s only' % (
                machine, ", ".join('"Linux %s"' % name for name in sorted(self._builds)) or "no machine"),
                ['Build the collection on such a machine with "cargo xtask collection", or run the task on another host.'])
        path = os.path.join(ROOT, build["path"])
        try:
            with open(path, "rb") as f:
                program = f.read()
        except FileNotFoundError as exc:
            raise self._incomplete(build["path"]) from exc
        found = hashlib.sha256(program).hexdigest()
        if found != build["sha256"]:
            raise Refusal("program_missing", "the collection is damaged: %s has the SHA-256 %s, and native/manifest.json says %s" % (
                build["path"], found, build["sha256"]), ["Install the collection again."])
        skip = 0
        while True:
            res, said = self._run(INSTALL, program, lambda path: path, "program",
                                  name=self._name(build), sha=build["sha256"], size=build["size"], nonce=self._nonce, skip=skip)
            verb, dummy, rest = (said or "").partition(" ")
            if verb != "full":
                break
            skip = int(rest.split()[0])
        if verb == "installed":
            Display().vv("%s: installed as %s/%s" % (self.TOOL, rest, self._name(build)), host=self._task.delegate_to or self._vars.get("inventory_hostname"))
            return
        reason = "%s (exit status %s)" % (self._last_words(res) or "no answer", res["rc"])
        if said:
            reason = " ".join(rest.replace("/.%s.%s" % (self._name(build), self._nonce), "").split())
        hints = ["Set the variable %s to a directory of the user that the task runs as, on a file system that is not mounted noexec." % CACHE_VARIABLE]
        raise Refusal("program_failed", "the program could not be installed on the target: %s" % reason, hints if verb == "nowhere" else [])

    # -- plumbing ---------------------------------------------------------------------------------------------

    def _own_place(self):
        """The directory the user asked for, as a word for the shell; with delegate_to it is the other host's."""
        delegated = self._vars.get("ansible_delegated_vars") or {}
        place = (delegated.get(self._task.delegate_to) or self._vars).get(CACHE_VARIABLE)
        place = self._templar.template(place) if place else None
        if not place:
            return ""
        place = str(place)
        if place.startswith("~/"):
            return '"$HOME"/' + shlex.quote(place[2:])
        if not place.startswith("/"):
            raise Refusal("invalid_argument", 'the variable %s is "%s", which is not an absolute path' % (CACHE_VARIABLE, place))
        return shlex.quote(place.rstrip("/") or "/")

    def _can_pipe(self):
        """Independent of the setting `pipelining`: that is about Python modules, and its default is off."""
        become = self._connection.become
        # The attribute came with ansible-core 2.19; before, su was known by its name.
        if become and not getattr(become, "pipelining", str(become.name).rpartition(".")[2] != "su"):
            return False
        return bool(self._connection.has_pipelining) and not self._force_files

    def _run(self, template, data=None, place=None, slot=None, **fields):
        """Runs a script with `data` on its standard input; or in a file, whose path `place` turns into the script's field
        `slot`. Gives the result of the command, and what the target said after MISS or None."""
        piped = self._can_pipe()
        if slot:
            fields[slot] = place("" if piped else shlex.quote(self._file(slot, data)))
        drain = "cat >/dev/null; " if piped and data is not None else ""
        script = template.format(tool=self.TOOL, folder=FOLDER, any="?" * SHORT, miss=MISS, own=self._own, drain=drain, **fields)
        command = " ".join(x for x in (self._compute_environment_string().strip(), "/bin/sh -c", shlex.quote(script)) if x)
        res = self._low_level_execute_command(command, sudoable=True, in_data=data if piped else None)
        if drain and res["rc"] != 0 and NO_TTY.search(res["stderr"] + res["stdout"]) and self._parse(res) is None:
            self._force_files = True  # requiretty in sudoers: only a command without input data is given a terminal
            return self._run(template, data, place, **dict(fields, slot=slot))
        at = ("\n" + res["stdout"]).rfind("\n" + MISS)
        return res, res["stdout"][at + len(MISS):].strip() if at >= 0 else None

    def _file(self, name, data):
        """Puts data into Ansible's temporary directory for this task and lets the become user read it."""
        shell = self._connection._shell
        if shell.tmpdir is None:
            self._make_tmp_path()
        path = self._transfer_data(shell.join_path(shell.tmpdir, "%s-%s" % (self.TOOL, name)), data)
        self._fixup_perms2([shell.tmpdir, path], execute=True)
        return path
