"""The names of staging tables, and which of these tables no write uses any more.

A name tells the process and the write that it belongs to, both by random numbers: names of hosts, addresses and process
numbers are not unique (machines are cloned), and clocks are wrong. A process proves that it lives by a lock on a file,
which the operating system takes away when it ends; other machines, which cannot see that file, go by the lease that
each write renews in the database.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import time
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: there the lease alone decides
    fcntl = None  # type: ignore[assignment]  # a module or nothing

PREFIX = "cfl_staging_"
_WRITE = rf"{PREFIX}([0-9a-f]{{8}})_[0-9a-f]{{8}}"
_NAME = re.compile(rf"({_WRITE})(?:_[0-9]+_[0-9a-f]{{6}}|_published|_withdrawn)?")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STALE_S = 7 * 24 * 3600

# The writes of this process that are going on. It has given up the others that have its number.
at_work: set[str] = set()


def staging_name() -> str:
    """Draw the name of a staging table of this process."""
    return f"{PREFIX}{_process()}_{secrets.token_hex(4)}"


def part_name(write: str, number: int) -> str:
    """Name the table of one part of a write that is made by many processes, for one attempt at it.

    It has the name of the whole in it, for it lives as long as who made that.
    """
    return f"{write}_{number}_{secrets.token_hex(3)}"


def is_staging(name: str) -> bool:
    """Say whether a table is one that a write is filling, or has left behind."""
    return _NAME.fullmatch(name) is not None


def is_abandoned(name: str, *, lease_has_run_out: bool) -> bool:
    """Say whether no write uses a staging table any more, as far as can be known."""
    found = _NAME.fullmatch(name)
    if found is None:
        return False
    write, process = found.groups()
    if process == _number:
        return write not in at_work
    has_ended = _has_ended(process)
    return lease_has_run_out if has_ended is None else has_ended


def write_of(name: str) -> str:
    """Name the staging table that stands for a write in parts, given that of a part; else the table itself."""
    found = _NAME.fullmatch(name)
    return name if found is None else found[1]


_number: str | None = None
_lock: int | None = None  # the open file; it is never closed but by the end of the process


def _process() -> str:
    """Draw the number of this process, and let others on this machine see that it lives."""
    global _number, _lock
    if _number is None:
        _number = secrets.token_hex(4)
        _lock = _hold_lock(_number)
    return _number


def _forget() -> None:
    """Become a process of its own after a fork: the tables of the parent are not this one's."""
    global _number, _lock
    if _lock is not None:
        os.close(_lock)  # the parent still holds it
    _number = _lock = None
    at_work.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _boot() -> str | None:
    """Tell this run of the system from all others, of this machine and of its clones."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


def _folder() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"cartoframes_lite-{os.getuid()}"


def _hold_lock(number: str) -> int | None:
    """Lock a file for as long as this process lives; None if the system cannot do it."""
    boot = _boot()
    if fcntl is None or boot is None:
        return None
    try:
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(folder)
        made = folder / f"{number}.new"
        handle = os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(handle, boot.encode())
        made.rename(folder / f"{number}.lock")  # only now others can see it: it is locked
    except OSError:
        return None
    return handle


def _remove_stale(folder: Path) -> None:
    """Remove the files of processes that ended long ago."""
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_S and _has_ended(path.stem):
                path.unlink()


def _has_ended(number: str) -> bool | None:
    """Say whether a process of this machine has ended; None if it may be one of another machine."""
    boot = _boot()
    if fcntl is None or boot is None:
        return None
    try:
        handle = os.open(_folder() / f"{number}.lock", os.O_RDWR)
    except OSError:
        return None
    try:
        # A file of another run of the system can have come with a copy of the disk.
        if os.read(handle, 64).decode(errors="replace") != boot:
            return None
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    else:
        return True
    finally:
        os.close(handle)
