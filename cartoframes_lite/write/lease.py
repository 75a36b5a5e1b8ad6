"""The lease of a write: its staging table is not dropped by others as long as it is renewed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cartoframes_lite._client import Client
from cartoframes_lite.errors import CartoError
from cartoframes_lite.write.staging_sql import renew_lease

RENEW_S = 3600.0  # of the 24 hours that it has


@contextmanager
def keep_lease(client: Client, schema: str, staging: str) -> Iterator[None]:
    """Renew the lease of a staging table until the context is left."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(RENEW_S):
            try:
                client.sql.send(renew_lease(schema, staging), idempotent=True)
            except (CartoError, OSError):
                continue  # the next time it may go through

    threading.Thread(target=renew, name="cartoframes_lite lease", daemon=True).start()
    try:
        yield
    finally:
        done.set()
