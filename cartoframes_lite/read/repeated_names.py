"""Explain the error for a query that returns several columns of one name, such as ``SELECT * FROM a JOIN b``."""

from __future__ import annotations

import csv
import io
from collections import Counter

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import quote
from cartoframes_lite.errors import CartoError, SQLError
from cartoframes_lite.read.source import Source


def explain_repeated_names(client: Client, origin: Source, error: SQLError) -> None:
    """Add to an error which names a source repeats, and how to change the query; do nothing if there are none."""
    if origin.is_table or "ambiguous" not in error.args[0]:
        return
    try:
        # The SQL API returns columns as a JSON object, in which one column of each name is left.
        with client.copy.copy_to(
            f"COPY (SELECT * FROM {origin.sql} LIMIT 0) TO STDOUT WITH (FORMAT csv, HEADER)"
        ) as rows:
            header = b"".join(rows).decode()
    except CartoError:
        return
    names = next(csv.reader(io.StringIO(header)), [])
    counts = Counter(names)
    repeated = [name for name, count in counts.items() if count > 1]
    if not repeated:
        return
    once = [name for name, count in counts.items() if count == 1]
    example = quote(repeated[0])
    error.hint = (
        f"the query returns several columns named {', '.join(map(repr, repeated))}: select each of them with a name of"
        f" its own, e.g. SELECT a.{example}, b.{example} AS {quote(f'{repeated[0]}_2')}; or leave them out with"
        f" columns={once}"
    )
