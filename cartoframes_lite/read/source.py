"""Source of a read, a table or a query: its columns, and the COPY statement that reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._codec.frame import WEB_MERCATOR
from cartoframes_lite._codec.layout_sql import sync_by_layout
from cartoframes_lite._codec.names import normalize, qualify, quote, split_schema
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.placeholders import Params, fill
from cartoframes_lite._codec.sql_text import is_query, single_statement
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import SQLError, TableNotFoundError

_TITLE = re.compile(r"[^;*=\n]{1,200}")


@dataclass(frozen=True, slots=True)
class Source:
    """A table or a query, and conditions for its rows.

    Attributes
    ----------
    relation : str
        A quoted table name, or a query in parentheses with an alias.
    table, schema : str or None
        Name of the table and its schema, if the source is a table.
    query : str or None
        Text of the query, if the source is a query.
    conditions : tuple of str
        SQL conditions that rows must meet.
    """

    relation: str
    table: str | None = None
    schema: str | None = None
    query: str | None = None
    conditions: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """SQL that follows FROM."""
        return f"(\n{self._filtered}\n) AS _query" if self.conditions else self.relation

    @property
    def is_table(self) -> bool:
        """Whether the source is a table with all of its rows."""
        return self.table is not None and not self.conditions

    @property
    def _filtered(self) -> str:
        # Line breaks end a comment in the last line of a condition.
        return f"SELECT * FROM {self.relation} WHERE " + " AND ".join(f"(\n{one}\n)" for one in self.conditions)

    def where(self, condition: str | None) -> Source:
        """Return the source with another condition; the same if it is None."""
        return self if condition is None else replace(self, conditions=(*self.conditions, condition))

    def to_attrs(self, credentials: Credentials) -> dict[str, Any]:
        """Return the value of ``attrs["carto"]``: account and source, without the API key.

        A table with conditions is both a table and the query that selects its rows.
        """
        source: dict[str, Any] = {"base_url": credentials.base_url, "username": credentials.username}
        if self.table is not None:
            source |= {"table": self.table, "schema": self.schema}
        if not self.is_table:
            source["query"] = self._filtered if self.conditions else self.query
        return source


def table_source(schema: str | None, table: str) -> Source:
    """Return the source for a table."""
    return Source(qualify(schema, table), table=table, schema=schema)


def resolve_source(
    source: str, schema: str | None, *, params: Params | None = None, where: str | None = None
) -> Source:
    """Return the source for a table name or a query, with the values of its placeholders.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit each other, or the SQL is not a single statement or condition.
    """
    if not is_query(source):
        table = source.strip()
        if schema is None:
            schema, table = split_schema(table)
        return filtered(table_source(schema, table), params=params, where=where)
    if schema is not None:
        raise ValueError(f"schema={schema!r} is only for a table name: qualify the tables inside the query instead")
    query, *conditions = fill([source] if where is None else [source, where], params)
    # The line break ends a comment in the last line of the query.
    origin = Source(f"(\n{single_statement(query)}\n) AS _query", query=query)
    return origin.where(single_condition(*conditions) if conditions else None)


def filtered(origin: Source, *, params: Params | None, where: str | None) -> Source:
    """Return a table with a condition and the values of its placeholders."""
    if where is not None:
        return origin.where(single_condition(*fill([where], params)))
    if params is not None and len(params):
        raise ValueError(f"params has no placeholder to fill: {origin.table!r} is a table; pass a query or where")
    return origin


def single_condition(where: str) -> str:
    """Return a condition without comments at its end; raise if it is not a single one."""
    try:
        return single_statement(where)
    except ValueError as error:
        raise ValueError(f"where is not a single SQL condition: {error}") from None


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """Columns of a source, and a fingerprint of its tables and views; it differs if they were recreated or altered."""

    columns: list[SourceColumn]
    layout: str | None


@dataclass(frozen=True, slots=True)
class LayoutCheck:
    """Check, made by the COPY itself, that the layout of a source has not changed since it was queried.

    Attributes
    ----------
    origin : Source
    layout : str
    other_sync : bytes
        What the COPY selects in place of the sync if the layout is not the same.
    """

    origin: Source
    layout: str
    other_sync: bytes

    def sql(self, sync: bytes) -> str:
        """Return the expression for the first column."""
        return sync_by_layout(
            self.origin.sql, self.layout, _bytea(sync), _bytea(self.other_sync), is_query=not self.origin.is_table
        )


def inspect_source(client: Client, origin: Source) -> list[SourceColumn]:
    """Query the columns and their types, without rows."""
    return query_layout(client, origin).columns


def query_layout(client: Client, origin: Source) -> SourceLayout:
    """Query the columns, their types and the table fingerprint, without rows."""
    try:
        return SourceLayout(*client.sql.columns_and_layout(origin.sql, is_query=not origin.is_table))
    except SQLError:
        if origin.table is not None:
            client.sql.require_table(origin.schema, origin.table)
        raise


def find_source(client: Client, origin: Source) -> tuple[Source, SourceLayout]:
    """Return a source and its layout; a table that exists only under its normalized name is found by its title."""
    try:
        return origin, query_layout(client, origin)
    except (TableNotFoundError, SQLError):
        title = origin.table or origin.query or ""  # "Table of stations" begins like a query
        name = normalize(title) if _TITLE.fullmatch(title) else title
        if name == title or not client.sql.has_table(origin.schema, name):
            raise
        found = replace(origin, relation=qualify(origin.schema, name), table=name, query=None)
        return found, query_layout(client, found)


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


def copy_out(
    source: str, columns: Iterable[SourceColumn], sync: bytes, limit: int | None, *, check: LayoutCheck | None = None
) -> str:
    """Compose the COPY that reads columns of ``source`` (a table, or a query in parentheses with an alias).

    With a check, ``sync`` is the first column only if the layout is unchanged.
    """
    sync_value = _bytea(sync) if check is None else check.sql(sync)
    selected = [sync_value, *(column.rule.select.format(quote(column.name)) for column in columns)]
    query = f"SELECT {', '.join(selected)} FROM {source}"
    if limit is not None:
        query += f" LIMIT {limit:d}"
    return f"COPY ({query}) TO STDOUT WITH (FORMAT binary)"


def _bytea(value: bytes) -> str:
    # Not '\x...', where the meaning of the backslash depends on standard_conforming_strings.
    return f"decode('{value.hex()}', 'hex')"
