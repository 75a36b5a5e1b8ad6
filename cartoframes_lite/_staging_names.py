"""The names of staging tables, which tell whose they are, and so which have been left behind."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import uuid
from pathlib import Path

PREFIX = "cfl_staging_"
_CLOCK_S = 60  # that clocks may have been set by; later, another process has got the number
_ABANDONED_S = 24 * 3600  # a staging table of another machine is taken for abandoned after this time
_WRITE = rf"({PREFIX}([0-9a-f]{{8}})_([0-9a-f]+)_([0-9a-f]+)_[0-9a-f]{{8}})"
_NAME = re.compile(rf"{_WRITE}(?:_[0-9]+_[0-9a-f]{{6}})?")

# The staging tables that this process is filling. It has given up the others that have its number.
at_work: set[str] = set()


def staging_name(now_s: float) -> str:
    """Draw a name that tells whose table it is: machine, process, time, and something random."""
    return f"{PREFIX}{_machine()}_{os.getpid():x}_{int(now_s):x}_{secrets.token_hex(4)}"


def part_name(write: str, number: int) -> str:
    """Name the table of one part of a write that is made by many processes, for one attempt at it.

    It has the name of the whole in it, for it lives as long as who made that.
    """
    return f"{write}_{number}_{secrets.token_hex(3)}"


def _machine() -> str:
    """Name this machine, or rather this space of process ids (a container has its own)."""
    try:
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        processes = ""
    return hashlib.blake2s(f"{platform.node()} {uuid.getnode()} {processes}".encode(), digest_size=4).hexdigest()


def is_staging(name: str) -> bool:
    """Say whether a table is one that a write is filling, or has left behind."""
    return _NAME.fullmatch(name) is not None


def is_abandoned(name: str, now_s: float) -> bool:
    """Say whether who made a staging table is gone or has given it up, as far as can be known."""
    found = _NAME.fullmatch(name)
    if found is None:
        return False
    write, machine, process, started = found.groups()
    if machine == _machine():
        number = int(process, 16)
        return write not in at_work if number == os.getpid() else not _is_alive(number, int(started, 16))
    return now_s - int(started, 16) > _ABANDONED_S


def _is_alive(process: int, when_s: int) -> bool:
    """Say whether a process is the one that had this number at a time, and still runs."""
    if platform.system() == "Windows":  # os.kill would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    except OSError:
        return True  # there is no /proc to ask
    if words[0] == "Z":  # killed, and its parent has not waited for it: it writes nothing any more
        return False
    began_s = int(words[19]) / os.sysconf("SC_CLK_TCK")  # since the machine was booted
    return booted is None or int(booted[1]) + began_s <= when_s + _CLOCK_S
