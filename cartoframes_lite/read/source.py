"""Source of a read, a table or a query: its columns, and the COPY statement that reads it."""

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
    """A table or a query.

    Attributes
    ----------
    sql : str
        SQL that follows FROM: a quoted table name, or a query in parentheses with an alias.
    table, schema : str or None
        Name of the table and its schema, if the source is a table.
    query : str or None
        Text of the query, if the source is a query.
    """

    sql: str
    table: str | None = None
    schema: str | None = None
    query: str | None = None

    def to_attrs(self, credentials: Credentials) -> dict[str, Any]:
        """Return the value of ``attrs["carto"]``: account and source, without the API key."""
        account = {"base_url": credentials.base_url, "username": credentials.username}
        source = {"query": self.query} if self.table is None else {"table": self.table, "schema": self.schema}
        return {**account, **source}


def resolve_source(source: str, schema: str | None) -> Source:
    """Return the source for a table name or a query."""
    if is_query(source):
        if schema is not None:
            raise ValueError(f"schema={schema!r} is only for a table name: qualify the tables inside the query instead")
        # The line break ends a comment in the last line of the query.
        return Source(f"(\n{single_statement(source)}\n) AS _query", query=source)
    table = source.strip()
    if schema is None:
        schema, table = split_schema(table)
    return Source(qualify(schema, table), table=table, schema=schema)


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """Columns of a source, and a fingerprint of its tables, which differs if they were recreated or altered."""

    columns: list[SourceColumn]
    layout: str | None


def inspect_source(client: Client, origin: Source) -> list[SourceColumn]:
    """Query the columns and their types, without rows."""
    return query_layout(client, origin).columns


def query_layout(client: Client, origin: Source) -> SourceLayout:
    """Query the columns, their types and the table fingerprint, without rows."""
    try:
        return SourceLayout(*client.sql.columns_and_layout(origin.sql, is_query=origin.table is None))
    except SQLError:
        if origin.table is not None:
            client.sql.require_table(origin.schema, origin.table)
        raise


def select(found: list[SourceColumn], columns: Sequence[str] | None, source: str) -> list[SourceColumn]:
    """Select columns by name; None selects all except ``the_geom_webmercator``."""
    if columns is None:
        return [column for column in found if column.name != WEB_MERCATOR]
    by_name = {column.name: column for column in found}
    unknown = [name for name in columns if name not in by_name]
    if unknown:
        raise ValueError(f"{source!r} has no columns {unknown}; it has {list(by_name)}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns contains a name twice: {list(columns)}")
    return [by_name[name] for name in columns]


def copy_out(source: str, columns: Iterable[SourceColumn], sync: bytes, limit: int | None) -> str:
    """Compose the COPY that reads columns of ``source`` (a table, or a query in parentheses with an alias)."""
    # Not '\x...', where the meaning of the backslash depends on standard_conforming_strings.
    sync_value = f"decode('{sync.hex()}', 'hex')"
    selected = [sync_value, *(column.rule.select.format(quote(column.name)) for column in columns)]
    query = f"SELECT {', '.join(selected)} FROM {source}"
    if limit is not None:
        query += f" LIMIT {limit:d}"
    return f"COPY ({query}) TO STDOUT WITH (FORMAT binary)"
