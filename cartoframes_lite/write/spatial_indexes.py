"""Build the spatial indexes of a new table before its rows are published, all at the same time.

A transaction can build only one index after the other, and the indexes take longer than the COPY. On a staging table,
which no other process uses, each can be built over a connection of its own; CDB_CartodbfyTable then finds them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from cartoframes_lite._client.parallel import at_once
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
    interrupted = threading.Event()

    def build(column: str) -> None:
        with suppress(CartoError, OSError):
            destination.client.sql.send(create_spatial_index(destination.schema, staged.name, column))
        if interrupted.is_set():  # until now, the statement has kept the lock of the table
            drop_staging_tables(destination, [staged.name])

    try:
        at_once(destination.client.credentials, *(partial(build, column) for column in columns))
    except BaseException:
        interrupted.set()
        raise
