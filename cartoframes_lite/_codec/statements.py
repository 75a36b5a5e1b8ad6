"""The SQL that reads and loads rows, and what all composed SQL shares: quoted identifiers, pure text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import quote
from cartoframes_lite._codec.payload import CARTODB_ID, PayloadColumn
from cartoframes_lite._codec.pgtypes import SourceColumn

CARTO_COLUMNS = (CARTODB_ID, THE_GEOM, WEB_MERCATOR)
CARTO_SRIDS = (4326, 3857)  # of these two geometries; CARTO takes any column that declares them


def copy_out(source: str, columns: Iterable[SourceColumn], sync: bytes, limit: int | None) -> str:
    """Compose the COPY that reads columns of ``source`` (a table, or a query in parentheses with an alias)."""
    # Not '\x...': a backslash would be one or not, as standard_conforming_strings says.
    mark = f"decode('{sync.hex()}', 'hex')"
    selected = [mark, *(column.rule.select.format(quote(column.name)) for column in columns)]
    query = f"SELECT {', '.join(selected)} FROM {source}"
    if limit is not None:
        query += f" LIMIT {limit:d}"
    return f"COPY ({query}) TO STDOUT WITH (FORMAT binary)"


def copy_in(staging: str) -> str:
    """Compose the COPY into a staging table; without a list of columns, for it has to fit into a URL."""
    return f"COPY {staging} FROM STDIN WITH (FORMAT binary)"


def column_definitions(columns: Sequence[PayloadColumn], *, keyed: bool) -> str:
    """Define the columns of a staging table; ``keyed`` gives it the key of a CARTO table."""
    return ", ".join(
        f"{quote(column.name)} bigserial PRIMARY KEY"
        if keyed and column.name == CARTODB_ID
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
