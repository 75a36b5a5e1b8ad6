"""Resources of processes: threads, open files, memory, database sessions. Linux only."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """Counts of one moment; sockets are among the files."""

    threads: int
    files: int
    sockets: int
    memory_mb: float
    server_threads: int
    server_files: int
    server_sockets: int
    server_memory_mb: float
    sessions: int
    staging_tables: int
    tables: int

    def exceeds(self, before: ResourceUsage, allowed: Mapping[str, float]) -> dict[str, str]:
        """Name what has grown by more than is allowed, which is nothing unless it is said."""
        pairs = {name: (count, asdict(before)[name]) for name, count in asdict(self).items()}
        return {name: f"{was} -> {count}" for name, (count, was) in pairs.items() if count > was + allowed.get(name, 0)}


def measure(server_pid: int, dsn: str) -> ResourceUsage:
    """Count now."""
    gc.collect()
    # What is free in this process goes back to the system, so that growth is what is held.
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    with psycopg.connect(dsn) as database:
        row = database.execute(
            "SELECT (SELECT count(*) FROM pg_stat_activity"
            "        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),"
            " (SELECT count(*) FROM pg_class WHERE relname LIKE 'cfl$_staging$_%' ESCAPE '$' AND relkind = 'r'),"
            " (SELECT count(*) FROM CDB_UserTables())"
        ).fetchone()
    assert row is not None
    return ResourceUsage(*_held(os.getpid()), *_held(server_pid), *row)


def settled(server_pid: int, dsn: str, wanted: Callable[[ResourceUsage], bool], timeout_s: float) -> ResourceUsage:
    """Count when what is on its way out has gone, or when the time is over."""
    give_up = time.monotonic() + timeout_s
    while True:
        found = measure(server_pid, dsn)
        if wanted(found) or time.monotonic() > give_up:
            return found
        time.sleep(0.25)


def open_files() -> int:
    """Count the files of this process now, also what only waits to be collected."""
    return len(os.listdir("/proc/self/fd"))


def _held(process: int) -> tuple[int, int, int, float]:
    """Count the threads, files and sockets of a process, and its memory in MB."""
    place = Path(f"/proc/{process}")
    targets = []
    for file in (place / "fd").iterdir():
        try:
            targets.append(os.readlink(file))
        except FileNotFoundError:  # the one that lists this folder
            continue
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    resident_mb = int(status["VmRSS"].split()[0]) / 1024
    sockets = sum(target.startswith("socket:") for target in targets)
    return int(status["Threads"]), len(targets), sockets, round(resident_mb, 1)
