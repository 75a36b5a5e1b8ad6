"""Processor time of the client, the embedded server and PostgreSQL; a busy machine changes it little. Linux only."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg

_PROCESSES = Path("/proc")
_PARENT, _FIRST_TIME, _LAST_TIME = 1, 11, 15  # positions in /proc/PID/stat behind the name
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """Seconds of processor time, of all threads and ended subprocesses; ``client`` includes its other subprocesses."""

    client: float
    server: float
    postgres: float

    def __add__(self, other: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.client + other.client, self.server + other.server, self.postgres + other.postgres)

    def __sub__(self, earlier: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(
            self.client - earlier.client, self.server - earlier.server, self.postgres - earlier.postgres
        )

    def __truediv__(self, calls: int) -> ProcessorTime:
        return ProcessorTime(self.client / calls, self.server / calls, self.postgres / calls)

    @property
    def total(self) -> float:
        """Sum over all processes."""
        return self.client + self.server + self.postgres

    def per_million(self, rows: int) -> str:
        """Describe the time for a million rows, if this is the time for ``rows``."""
        client, server, postgres = (seconds / rows * 1e6 for seconds in (self.client, self.server, self.postgres))
        return f"client {client:.2f} s, server {server:.2f} s, PostgreSQL {postgres:.2f} s"


class ProcessorClock:
    """Read the processor time of this process, of the server that started a PostgreSQL, and of that PostgreSQL.

    Parameters
    ----------
    dsn : str
        Of the PostgreSQL.
    """

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            self._postmaster = _Process.read(connection.info.backend_pid).parent
        self._server = _Process.read(self._postmaster).parent

    def read(self) -> ProcessorTime:
        """Return the processor time since the processes started."""
        processes = {int(path.name): _Process.read(int(path.name)) for path in _PROCESSES.glob("[0-9]*")}
        postgres = _tree(processes, self._postmaster)
        server = _tree(processes, self._server)
        workers = _tree(processes, os.getpid()) - {os.getpid()} - server
        return ProcessorTime(
            client=time.process_time() + sum(processes[pid].seconds for pid in workers),
            server=sum(processes[pid].seconds for pid in server - postgres),
            postgres=sum(processes[pid].seconds for pid in postgres),
        )


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    seconds: float

    @classmethod
    def read(cls, pid: int) -> Self:
        """Read a process; one that has just ended has no parent."""
        try:
            values = (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return cls(0, 0.0)
        return cls(int(values[_PARENT]), sum(map(int, values[_FIRST_TIME:_LAST_TIME])) / _TICKS_PER_S)


def _tree(processes: dict[int, _Process], root: int) -> set[int]:
    """Return a process and those that it started, and so on."""
    found = {root}
    while more := {pid for pid, process in processes.items() if process.parent in found} - found:
        found |= more
    return found
