"""The embedded server of the load tests, and its process: its threads, files and memory are not those of the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import cartoframes_lite as cfl
from cartoframes_lite.local import Plan, process, start


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server, and where its database and its process are to be found."""

    credentials: cfl.Credentials
    dsn: str
    pid: int


@contextmanager
def server_process(
    *, rate_limits: Mapping[str, tuple[float, int]] | None = None, statement_timeout_s: float | None = None
) -> Iterator[ServerProcess]:
    """Start a server with an empty account, and stop it in the end."""
    plan = Plan(rate_limits=rate_limits or {})
    with start(user="load", api_key="load", statement_timeout_s=statement_timeout_s, plan=plan) as server:
        assert isinstance(server._server, process.ServerProcess)
        yield ServerProcess(server.credentials, server.dsn, server._server.pid)
