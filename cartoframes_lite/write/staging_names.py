"""The names of staging tables, and which of these tables no write uses any more.

A name is a random number: names of hosts, addresses and process numbers are not unique (machines are cloned), and
clocks are wrong. A process knows the writes that it has begun itself. To others on the machine a write proves that it
lives by a lock on a file, which the operating system takes away when the process ends. Whoever cannot see that file,
or sees a copy of it, goes by the lease that each write renews in the database.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: there the lease alone decides
    fcntl = None  # type: ignore[assignment]  # a module or nothing

PREFIX = "cfl_staging_"
_WRITE = rf"{PREFIX}[0-9a-f]{{8}}_[0-9a-f]{{8}}"
_NAME = re.compile(rf"({_WRITE})(?:_[0-9]+_[0-9a-f]{{6}}|_published|_withdrawn)?")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STALE_S = 7 * 24 * 3600
_REMEMBERED = 10_000  # what is left of an older write goes when its lease has run out

# The writes of this process that are going on. It has given up the others that it has begun.
active_names: set[str] = set()
_begun: OrderedDict[str, None] = OrderedDict()
_locks: dict[str, int] = {}  # open files, by the write


def begin_write() -> str:
    """Draw the name of a staging table, which is not swept until ``end_write``."""
    name = staging_name()
    active_names.add(name)
    return name


def staging_name() -> str:
    """Draw the name of a staging table of this process."""
    name = f"{PREFIX}{secrets.token_hex(4)}_{secrets.token_hex(4)}"
    _begun[name] = None
    if len(_begun) > _REMEMBERED:
        _begun.popitem(last=False)
    _lock_process_file(name)
    return name


def end_write(name: str, *, leaves_nothing: bool = False) -> None:
    """Let others sweep what a write may have left behind; a file says so, if it may have left something."""
    active_names.discard(name)
    handle = _locks.pop(name, None)
    if handle is not None:
        if leaves_nothing:
            with suppress(OSError):  # somebody else has removed it
                _path(name).unlink()
        os.close(handle)


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
    write = found[1]
    if write in _begun:
        return write not in active_names
    has_ended = _has_ended(write)
    return lease_has_run_out if has_ended is None else has_ended


def write_of(name: str) -> str:
    """Name the staging table that stands for a write in parts, given that of a part; else the table itself."""
    found = _NAME.fullmatch(name)
    return name if found is None else found[1]


def _forget() -> None:
    """Become a process of its own after a fork: the tables of the parent are not this one's."""
    for handle in _locks.values():
        os.close(handle)  # the parent still holds it
    _locks.clear()
    _begun.clear()
    active_names.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _folder() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"cartoframes_lite-{os.getuid()}"


def _path(write: str) -> Path:
    return _folder() / f"{write}.lock"


def _identity(handle: int) -> bytes | None:
    """Tell a file of this run of the system from its copies: those of a disk, and those of a container."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        return None
    status = os.fstat(handle)
    return f"{boot} {status.st_dev} {status.st_ino}".encode()


def _lock_process_file(write: str) -> None:
    """Lock a file for as long as a write, or this process, lives; if the system cannot do it, there is none."""
    if fcntl is None:
        return
    try:
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _locks:
            _remove_stale(folder)
        made = folder / f"{write}.new"
        handle = os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(handle, _identity(handle) or b"")
        made.rename(_path(write))  # only now others can see it: it is locked
    except OSError:
        os.close(handle)
    else:
        _locks[write] = handle


def _remove_stale(folder: Path) -> None:
    """Remove the files of writes that ended long ago."""
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_S and _has_ended(path.stem):
                path.unlink()


def _has_ended(write: str) -> bool | None:
    """Say whether a write of this machine has ended; None if it may be one of another machine."""
    if fcntl is None:
        return None
    try:
        handle = os.open(_path(write), os.O_RDWR)
    except OSError:
        return None
    try:
        if os.read(handle, 256) != _identity(handle):
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
