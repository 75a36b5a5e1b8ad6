"""Keep the lease of a staging table, so that other writes do not drop the table as abandoned."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cartoframes_lite._client import Client
from cartoframes_lite.errors import CartoError
from cartoframes_lite.write.staging_sql import renew_lease

RENEW_S = 3600.0  # a lease lasts 24 hours


@contextmanager
def keep_lease(client: Client, schema: str, staging: str) -> Iterator[None]:
    """Renew the lease of a staging table, in a thread, until the context exits."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(RENEW_S):
            try:
                client.sql.send(renew_lease(schema, staging), idempotent=True)
            except (CartoError, OSError):
                continue  # the next renewal may succeed

    threading.Thread(target=renew, name="cartoframes_lite lease", daemon=True).start()
    try:
        yield
    finally:
        done.set()
