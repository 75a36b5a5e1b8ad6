"""Compose SQL shared by the modules of this package: COPY, column definitions, anonymous blocks."""

from __future__ import annotations

from collections.abc import Sequence

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import quote
from cartoframes_lite.write.columns import CARTODB_ID, Column

CARTO_COLUMNS = (CARTODB_ID, THE_GEOM, WEB_MERCATOR)
CARTO_SRIDS = (4326, 3857)  # of the_geom and the_geom_webmercator; CDB_CartodbfyTable finds them by SRID


def copy_in(staging: str) -> str:
    """Compose the COPY into a staging table; it is sent in a URL, so it has no list of columns."""
    return f"COPY {staging} FROM STDIN WITH (FORMAT binary)"


def column_definitions(columns: Sequence[Column], *, with_sequence: bool) -> str:
    """Compose the definition of a staging table, its columns; ``with_sequence`` gives cartodb_id a sequence.

    It has no primary key: creating that when the rows are published is faster than keeping it during the COPY.
    """
    return ", ".join(
        f"{quote(column.name)} bigserial"
        if with_sequence and column.name == CARTODB_ID
        else f"{quote(column.name)} {column.staged_type}"
        for column in columns
    )


def do_block(body: str, *, declare: str = "") -> str:
    """Compose an anonymous PL/pgSQL block, which any API key may run and which returns no rows."""
    # Columns of the table may have the names of variables.
    block = f"#variable_conflict use_column\n{f'DECLARE {declare}' if declare else ''}\nBEGIN\n{body}\nEND"
    tag = "$block$"
    while tag in block:  # identifiers and literals may contain the tag
        tag = f"{tag[:-1]}_$"
    return f"DO {tag}\n{block}{tag}"
