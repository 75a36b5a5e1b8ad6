"""Build the spatial indexes of a new table before its rows are published, all at the same time.

A transaction can build only one index after the other, and the indexes take longer than the COPY. On a staging table,
which no other process uses, each can be built over a connection of its own; CDB_CartodbfyTable then finds them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

from cartoframes_lite.errors import CartoError
from cartoframes_lite.write.indexes_sql import create_spatial_index
from cartoframes_lite.write.staged_sql import Staged
from cartoframes_lite.write.target import Destination, drop_staging_tables

# Below, the additional round trip takes longer than half of the time for two indexes, at least 1.4 us per row.
MIN_ROWS = 100_000


def build_spatial_indexes(destination: Destination, staged: Staged, columns: Sequence[str]) -> None:
    """Build the spatial indexes of a staging table, if it has many rows.

    An index that cannot be built, for example within the statement timeout, is left to the publishing transaction.

    Parameters
    ----------
    destination : Destination
    staged : Staged
    columns : sequence of str
        Columns of geometries; may be empty.
    """
    if staged.rows < MIN_ROWS or not columns:
        return
    first, *others = columns
    interrupted = threading.Event()
    threads = [
        threading.Thread(
            target=_build_in_thread,
            args=(destination, staged, column, interrupted),
            name="cartoframes_lite index",
            daemon=True,
        )
        for column in others
    ]
    for thread in threads:
        thread.start()
    try:
        _build(destination, staged, first)
        for thread in threads:
            thread.join()
    except BaseException:
        interrupted.set()
        raise


def _build(destination: Destination, staged: Staged, column: str) -> None:
    with suppress(CartoError, OSError):
        destination.client.sql.send(create_spatial_index(destination.schema, staged.name, column))


def _build_in_thread(destination: Destination, staged: Staged, column: str, interrupted: threading.Event) -> None:
    """Build an index; after an interrupt, drop the table, whose lock the statement kept until now."""
    _build(destination, staged, column)
    if interrupted.is_set():
        drop_staging_tables(destination, [staged.name])
