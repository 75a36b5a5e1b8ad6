"""The SQL that reads and loads rows, and what all composed SQL shares: quoted identifiers, pure text."""

from __future__ import annotations

from collections.abc import Sequence

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import quote
from cartoframes_lite.write.payload import CARTODB_ID, PayloadColumn

CARTO_COLUMNS = (CARTODB_ID, THE_GEOM, WEB_MERCATOR)
CARTO_SRIDS = (4326, 3857)  # of these two geometries; CARTO takes any column that declares them


def copy_in(staging: str) -> str:
    """Compose the COPY into a staging table; without a list of columns, for it has to fit into a URL."""
    return f"COPY {staging} FROM STDIN WITH (FORMAT binary)"


def column_definitions(columns: Sequence[PayloadColumn], *, with_primary_key: bool) -> str:
    """Define the columns of a staging table; ``with_primary_key`` gives it the key of a CARTO table."""
    return ", ".join(
        f"{quote(column.name)} bigserial PRIMARY KEY"
        if with_primary_key and column.name == CARTODB_ID
        else f"{quote(column.name)} {column.staged_type}"
        for column in columns
    )


def do_block(body: str, *, declare: str = "") -> str:
    """Compose an anonymous block: it returns no row, and any key may run it."""
    # A column can have the name of a variable.
    block = f"#variable_conflict use_column\n{f'DECLARE {declare}' if declare else ''}\nBEGIN\n{body}\nEND"
    tag = "$block$"
    while tag in block:  # names can contain a dollar tag, too
        tag = f"{tag[:-1]}_$"
    return f"DO {tag}\n{block}{tag}"
