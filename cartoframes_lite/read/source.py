"""Where rows come from: a table or a query, and the columns it has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._codec.frame import WEB_MERCATOR
from cartoframes_lite._codec.names import qualify, quote, split_schema
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.sql_text import is_query, single_statement
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import SQLError


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from: a table (``table`` is its name) or a query; ``sql`` stands behind FROM."""

    sql: str
    table: str | None = None
    schema: str | None = None
    query: str | None = None

    def note(self, credentials: Credentials) -> dict[str, Any]:
        """Say it for ``attrs``; the key is no part of it."""
        account = {"base_url": credentials.base_url, "username": credentials.username}
        place = {"query": self.query} if self.table is None else {"table": self.table, "schema": self.schema}
        return {**account, **place}


def resolve_source(source: str, schema: str | None) -> Source:
    """Tell the name of a table from a query."""
    if is_query(source):
        if schema is not None:
            raise ValueError("schema goes with the name of a table; in a query, write the schema there")
        # The line break ends a comment at the end of the query.
        return Source(f"(\n{single_statement(source)}\n) AS _query", query=source)
    table = source.strip()
    if schema is None:
        schema, table = split_schema(table)
    return Source(qualify(schema, table), table=table, schema=schema)


@dataclass(frozen=True, slots=True)
class Probed:
    """The columns of a source, and the layout of its tables: two that differ are not of one state of the tables."""

    columns: list[SourceColumn]
    layout: str | None


def inspect_source(client: Client, origin: Source) -> list[SourceColumn]:
    """Ask for the columns and their types, without rows."""
    return probe_layout(client, origin).columns


def probe_layout(client: Client, origin: Source) -> Probed:
    """Ask for the columns and their types, without rows, and for the layout of the tables below them."""
    try:
        return Probed(*client.sql.columns_and_layout(origin.sql, is_query=origin.table is None))
    except SQLError:
        if origin.table is not None:
            client.sql.require_table(origin.schema, origin.table)
        raise


def select(found: list[SourceColumn], columns: Sequence[str] | None, source: str) -> list[SourceColumn]:
    """Choose columns by name; None is all but the one that CARTO computes."""
    if columns is None:
        return [column for column in found if column.name != WEB_MERCATOR]
    by_name = {column.name: column for column in found}
    unknown = [name for name in columns if name not in by_name]
    if unknown:
        raise ValueError(f"{source!r} has no columns {unknown}; it has {list(by_name)}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns names a column twice: {list(columns)}")
    return [by_name[name] for name in columns]


def copy_out(source: str, columns: Iterable[SourceColumn], sync: bytes, limit: int | None) -> str:
    """Compose the COPY that reads columns of ``source`` (a table, or a query in parentheses with an alias)."""
    # Not '\x...': a backslash would be one or not, as standard_conforming_strings says.
    mark = f"decode('{sync.hex()}', 'hex')"
    selected = [mark, *(column.rule.select.format(quote(column.name)) for column in columns)]
    query = f"SELECT {', '.join(selected)} FROM {source}"
    if limit is not None:
        query += f" LIMIT {limit:d}"
    return f"COPY ({query}) TO STDOUT WITH (FORMAT binary)"
