"""Explain the error for a query that returns several columns of one name, such as ``SELECT * FROM a JOIN b``."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import quote
from cartoframes_lite.errors import CartoError, JobError, SQLError
from cartoframes_lite.read.source import Source

_UNNAMED = "?column?"  # the name that PostgreSQL gives to an expression


@contextmanager
def explained_repeated_names(client: Client, origin: Source) -> Iterator[None]:
    """Add to an error in the context which names a source repeats, if any, and how to change the query."""
    try:
        yield
    except SQLError as error:
        if "ambiguous" in error.args[0]:
            error.hint = _hint(client, origin) or error.hint
        raise
    except JobError as error:
        hint = _hint(client, origin) if "ambiguous" in error.args[0] else None
        if hint is None:
            raise
        raise JobError(f"{error}; {hint}", job=error.job) from error


def _hint(client: Client, origin: Source) -> str | None:
    """Return which names a source repeats, and how to change the query; None if there are none."""
    if origin.is_table:
        return None
    try:
        # The SQL API returns columns as a JSON object, in which one column of each name is left.
        with client.copy.copy_to(
            f"COPY (SELECT * FROM {origin.sql} LIMIT 0) TO STDOUT WITH (FORMAT csv, HEADER)"
        ) as rows:
            header = b"".join(rows).decode()
    except CartoError:
        return None
    names = next(csv.reader(io.StringIO(header)), [])
    counts = Counter(names)
    repeated = [name for name, count in counts.items() if count > 1]
    if not repeated:
        return None
    if repeated == [_UNNAMED]:
        return "the query returns several columns without a name: name each of them, e.g. SELECT a + b AS total"
    once = [name for name, count in counts.items() if count == 1]
    example = quote(repeated[0])
    return (
        f"the query returns several columns named {', '.join(map(repr, repeated))}: select each of them with a name of"
        f" its own, e.g. SELECT a.{example}, b.{example} AS {quote(f'{repeated[0]}_2')}"
        + f"; or leave them out with columns={once}"
        * bool(once)
    )
