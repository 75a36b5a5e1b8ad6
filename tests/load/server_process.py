"""The embedded server in a separate process: its threads, files and memory are not those of the test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import cartoframes_lite as cfl

_SCRIPT = """
import json, sys
import cartoframes_lite.local as local
rate_limits, statement_timeout_s = json.loads(sys.argv[1])
plan = local.Plan(rate_limits={kind: tuple(limit) for kind, limit in rate_limits.items()})
with local.start(user="load", api_key="load", statement_timeout_s=statement_timeout_s, plan=plan) as server:
    print(server.base_url, server.dsn, sep="\\n", flush=True)
    sys.stdin.read()
"""


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
    options = json.dumps([rate_limits or {}, statement_timeout_s])
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        base_url, dsn = process.stdout.readline().strip(), process.stdout.readline().strip()
        try:
            yield ServerProcess(cfl.Credentials(api_key="load", base_url=base_url), dsn, process.pid)
        finally:
            process.stdin.close()
