"""The embedded server in a process of its own, so that it does not share this one's interpreter lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cartoframes_lite as cfl

_SCRIPT = """
import sys
import cartoframes_lite.local
limit_s = float(sys.argv[1]) if sys.argv[1:] else None
with cartoframes_lite.local.start(user="bench", api_key="bench", statement_timeout_s=limit_s) as server:
    print(server.base_url, server.dsn, sep="\\n", flush=True)
    sys.stdin.read()
"""


@contextmanager
def server(statement_timeout_s: float | None = None) -> Iterator[tuple[cfl.Credentials, str]]:
    """Return the credentials of an empty account, and the DSN of its database."""
    command = [sys.executable, "-c", _SCRIPT, *([] if statement_timeout_s is None else [str(statement_timeout_s)])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        base_url, dsn = process.stdout.readline().strip(), process.stdout.readline().strip()
        try:
            yield cfl.Credentials(api_key="bench", base_url=base_url), dsn
        finally:
            process.stdin.close()
