"""The embedded server that benchmarks measure, in a process of its own or in this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cartoframes_lite as cfl


@contextmanager
def server(
    statement_timeout_s: float | None = None, *, in_process: bool = False
) -> Iterator[tuple[cfl.Credentials, str]]:
    """Return the credentials of an empty account, and the DSN of its database."""
    with cfl.local.start(
        user="bench", api_key="bench", statement_timeout_s=statement_timeout_s, in_process=in_process
    ) as started:
        yield started.credentials, started.dsn
