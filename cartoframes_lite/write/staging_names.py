"""Generate names of staging tables, and detect the staging tables of writes that have ended.

Names are random: host names, addresses and process ids are not unique across cloned machines, and clocks may be wrong.
A process keeps a list of its own writes. For other processes of the machine, each write holds a lock on a file, which
the operating system releases when the process ends. Where that file does not exist, or is a copy, the lease that each
write renews in the database decides.
"""

from __future__ import annotations

import math
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
except ImportError:  # Windows, where only the lease is used
    fcntl = None  # type: ignore[assignment]  # a module or None

PREFIX = "cfl_staging_"
_WRITE = rf"{PREFIX}[0-9a-f]{{8}}_[0-9a-f]{{8}}"
_NAME = re.compile(rf"({_WRITE})(?:_[0-9]+_[0-9a-f]{{6}}|_published|_withdrawn)?")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STALE_S = 7 * 24 * 3600
_CLEANUP_INTERVAL_S = 24 * 3600  # a cleanup looks at the lock files of all writes of the user
_MAX_OWN_WRITES = 10_000  # staging tables of older writes are dropped when their lease has expired

active_writes: set[str] = set()  # writes of this process that have not ended
_own_writes: OrderedDict[str, None] = OrderedDict()  # all writes of this process, by name of the staging table
_locks: dict[str, int] = {}  # descriptors of lock files, by write
_last_cleanups: dict[Path, float] = {}  # by folder, in seconds of time.monotonic


def begin_write() -> str:
    """Return a new name for the staging table of a write, which is not dropped as stale before ``end_write``."""
    name = staging_name()
    active_writes.add(name)
    return name


def staging_name() -> str:
    """Return a new name for a staging table, and lock its file."""
    name = f"{PREFIX}{secrets.token_hex(4)}_{secrets.token_hex(4)}"
    _own_writes[name] = None
    if len(_own_writes) > _MAX_OWN_WRITES:
        _own_writes.popitem(last=False)
    _lock_process_file(name)
    return name


def end_write(name: str, *, leaves_nothing: bool = False) -> None:
    """End a write; unless ``leaves_nothing``, its unlocked file shows that its staging tables can be dropped."""
    active_writes.discard(name)
    handle = _locks.pop(name, None)
    if handle is not None:
        if leaves_nothing:
            with suppress(OSError):  # another process has removed it
                _path(name).unlink()
        os.close(handle)


def part_name(write: str, number: int) -> str:
    """Return a new name for the staging table of one partition, for one attempt.

    It begins with the name of the parent, whose lease it shares.
    """
    return f"{write}_{number}_{secrets.token_hex(3)}"


def is_staging(name: str) -> bool:
    """Check whether a name is that of a staging table."""
    return _NAME.fullmatch(name) is not None


def is_abandoned(name: str, *, lease_has_expired: bool) -> bool:
    """Check whether the write of a staging table has ended, as far as this process can determine."""
    found = _NAME.fullmatch(name)
    if found is None:
        return False
    write = found[1]
    if write in _own_writes:
        return write not in active_writes
    has_ended = _has_ended(write)
    return lease_has_expired if has_ended is None else has_ended


def write_of(name: str) -> str:
    """Return the name of the parent of a partition's staging table; any other name is returned unchanged."""
    found = _NAME.fullmatch(name)
    return name if found is None else found[1]


def _reset_after_fork() -> None:
    """Reset the state in a forked child: writes of the parent process are not its own."""
    for handle in _locks.values():
        os.close(handle)  # the parent process keeps the lock
    _locks.clear()
    _own_writes.clear()
    active_writes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def _folder() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"cartoframes_lite-{os.getuid()}"


def _path(write: str) -> Path:
    return _folder() / f"{write}.lock"


def _identity(handle: int) -> bytes | None:
    """Return the content of a lock file, by which it differs from copies on cloned disks or in containers."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        return None
    status = os.fstat(handle)
    return f"{boot} {status.st_dev} {status.st_ino}".encode()


def _lock_process_file(write: str) -> None:
    """Create and lock the file of a write, until the write or the process ends; do nothing if that fails."""
    if fcntl is None:
        return
    try:
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(folder)
        new_file = folder / f"{write}.new"
        handle = os.open(new_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(handle, _identity(handle) or b"")
        new_file.rename(_path(write))  # visible to others only once it is locked
    except OSError:
        os.close(handle)
    else:
        _locks[write] = handle


def _remove_stale(folder: Path) -> None:
    """Remove the lock files of writes that ended more than a week ago, once a day."""
    now = time.monotonic()
    if now - _last_cleanups.get(folder, -math.inf) < _CLEANUP_INTERVAL_S:
        return
    _last_cleanups[folder] = now
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_S and _has_ended(path.stem):
                path.unlink()


def _has_ended(write: str) -> bool | None:
    """Check by its lock file whether a write has ended; None if it may be a write of another machine."""
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
