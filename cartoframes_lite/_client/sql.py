"""SQL API: run statements and queries with small results."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeVar

from cartoframes_lite._client.http.downloads import FORMATS, check_bytes, write_blocks
from cartoframes_lite._client.http.json_fields import drop_none, integer, parsed, record, records, required, text
from cartoframes_lite._client.http.request import STATEMENT_TIMEOUT_S
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._codec.layout_sql import LAYOUT, TYPE_NAMES, columns_with_layout
from cartoframes_lite._codec.names import literal, normalize, qualify, quote
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.errors import SQLError, TableNotFoundError

PATH = "api/v2/sql"
MAX_QUERY_BYTES = 1_000_000  # limit of the API for the body of a request
_TABLES = ("table", "view", "materialized view", "foreign table")  # as pg_identify_object calls them
_JSON_FORMATS = (None, "json", "geojson")
_FOUND = " table exists "  # not plausible as a column name
_SIMILAR = 0.7  # of difflib: "tt" is not similar to "t" or "rt_t"

T = TypeVar("T")
Format = Literal["json", "geojson", "csv", "shp", "kml", "svg", "gpkg", "spatialite", "topojson"]


class SQL:
    """``client.sql``.

    Parameters
    ----------
    transport : Transport

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> sql = cfl.Client().sql
    >>> sql.send("UPDATE stations SET year = 2022 WHERE year = 2021")["total_rows"]
    1
    >>> sql.rows("SELECT name, year FROM stations ORDER BY year DESC LIMIT 1")
    [{'name': 'Harbour', 'year': 2022}]
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(
        self,
        query: str,
        *,
        method: Literal["GET", "POST"] = "POST",
        format: Format | None = None,
        dp: int | None = None,
        filename: str | None = None,
        idempotent: bool = False,
        timeout_s: float | None = None,
    ) -> Any:
        """Run one or more statements; several statements run in one transaction.

        JSON is lossy: bigint and numeric become doubles, timestamps are truncated to seconds. ``read_carto`` is exact.

        Parameters
        ----------
        query : str
        method : {"POST", "GET"}
            GET is limited to about 7,000 bytes, and proxies may respond from a cache.
        format : str, optional
            None: JSON.
        dp : int, optional
            Decimal places of coordinates in geojson and svg. None: the server's default 6, about 0.1 m.
        filename : str, optional
            Name of the file inside an export.
        idempotent : bool, default False
            Whether the request is sent again if it is unknown whether it was executed; True for statements that only
            read.
        timeout_s : float, optional
            Maximum time to wait for the response, in seconds. None: one hour. When it is up, the statement may still be
            running, and is not sent again.

        Returns
        -------
        dict or bytes
            The decoded JSON if the format is json or geojson, else the content of the file.

        Raises
        ------
        SQLError
            If PostgreSQL rejects a statement, also after the first rows.
        QueryTimeout
            If the query runs longer than the account allows.
        ResponseTimeout
            If ``timeout_s`` is up; also a QueryTimeout and a ConnectionFailed.
        ConnectionFailed
            If the response is incomplete, or not from the SQL API.
        """
        _check_size(query)
        parameters = drop_none(q=query, format=format, dp=dp, filename=filename)
        form, url_query = (parameters, None) if method == "POST" else (None, parameters)
        transport, limit_s = self._transport, STATEMENT_TIMEOUT_S if timeout_s is None else timeout_s
        if format in _JSON_FORMATS:
            return transport.json(
                method,
                PATH,
                idempotent=idempotent,
                read=_table,
                form=form,
                query=url_query,
                statement_timeout_s=limit_s,
            )
        content = transport.request(
            method, PATH, idempotent=idempotent, form=form, query=url_query, statement_timeout_s=limit_s
        )
        return check_bytes(content, str(format), PATH)

    def send_to_file(
        self,
        query: str,
        path: str | os.PathLike[str],
        *,
        format: Format,
        dp: int | None = None,
        filename: str | None = None,
    ) -> int:
        """Run a query and write its rows to a file, which is created only when it is complete.

        Parameters are those of ``send``, without the format "json".

        Returns
        -------
        int
            Size of the file in bytes.

        Raises
        ------
        SQLError
            If the query failed, also after the first rows.
        ConnectionFailed
            If the response is incomplete.
        """
        if format not in FORMATS:
            raise ValueError(f"format must be one of {sorted(FORMATS)}, not {format!r}")
        form = drop_none(q=query, format=format, dp=dp, filename=filename)
        with self._transport.stream("POST", PATH, form=form, statement_timeout_s=STATEMENT_TIMEOUT_S) as blocks:
            return write_blocks(path, blocks, check=lambda file: FORMATS[format](file, PATH))

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Run a read-only query and return its rows as decoded from JSON."""
        rows: list[dict[str, Any]] = self.send(query, idempotent=True)["rows"]
        return rows

    def row(self, query: str, *names: str) -> dict[str, Any]:
        """Run a read-only query and return the named columns of its only row.

        Raises
        ------
        ConnectionFailed
            If the response does not have exactly one row, or lacks one of the columns.
        """

        def read(response: Any) -> dict[str, Any]:
            (row,) = _table(response)["rows"]
            return {name: row[name] for name in names}

        return self._read(query, read)

    def columns(self, source: str) -> list[SourceColumn]:
        """Return the columns of a table or query without reading rows.

        Parameters
        ----------
        source : str
            Item of a FROM clause: a quoted table, or a query in parentheses with an alias.
        """
        query = f"SELECT * FROM {source} LIMIT 0"
        return self._named(self._read(query, _columns))

    def columns_and_layout(self, source: str, *, is_query: bool) -> tuple[list[SourceColumn], str | None]:
        """Return the columns as ``columns`` does, and the layout of the source: see ``layout_sql``.

        The layout changes if a table or view is recreated or its columns are changed. None: it cannot be determined.
        """

        def read(response: Any) -> tuple[list[SourceColumn], str | None, dict[str, Any]]:
            (row,) = _table(response)["rows"]
            columns = [column for column in _columns(response) if column.name not in (LAYOUT, TYPE_NAMES)]
            return columns, text(row, LAYOUT), record(row.get(TYPE_NAMES) or {})

        query = columns_with_layout(source, is_query=is_query)
        if len(query.encode()) > MAX_QUERY_BYTES:
            return self.columns(source), None
        try:
            columns, layout, type_names = self._read(query, read)
        except SQLError:  # if the source itself is invalid, this query raises an error about the source only
            return self.columns(source), None
        return self._named(columns, type_names), layout

    def columns_and_values(
        self, source: str, alias: str, values: Mapping[str, str]
    ) -> tuple[list[SourceColumn], dict[str, Any]]:
        """Return the columns as ``columns`` does, and the values of SQL expressions, in one request.

        Parameters
        ----------
        source : str
            As in ``columns``.
        alias : str
            How SQL refers to the source.
        values : mapping of str to str
            Expressions by name; the names must not be those of columns.
        """

        def read(response: Any) -> tuple[list[SourceColumn], dict[str, Any]]:
            (row,) = _table(response)["rows"]
            columns = [column for column in _columns(response) if column.name not in values]
            return columns, {name: row[name] for name in values}

        selected = ", ".join(f"{expression} AS {quote(name)}" for name, expression in values.items())
        query = f"SELECT {alias}.*, _values.* FROM (SELECT {selected}) AS _values LEFT JOIN {source} ON false"
        columns, found = self._read(query, read)
        return self._named(columns), found

    def table_columns(self, schema: str | None, table: str) -> list[SourceColumn]:
        """Return the columns of a table as ``columns`` does.

        Raises
        ------
        TableNotFoundError
            If the table does not exist; with similar names.
        """
        relation = qualify(schema, table)
        with self._explain_missing(schema, table):
            columns, found = self.columns_and_values(relation, relation, {_FOUND: _exists(schema, table)})
        if not found[_FOUND]:  # only in another schema
            raise self.missing_table(table)
        return columns

    def table_row(self, schema: str | None, table: str, selected: str, *names: str) -> dict[str, Any]:
        """Query aggregates of a table, and return the named columns of the only row.

        Parameters
        ----------
        schema : str or None
            None: the schema of the account.
        table : str
        selected : str
            What SELECT lists.
        *names : str

        Raises
        ------
        TableNotFoundError
            If the table does not exist; with similar names.
        """
        query = f"SELECT {selected}, {_exists(schema, table)} AS {quote(_FOUND)} FROM {qualify(schema, table)}"
        with self._explain_missing(schema, table):
            row = self.row(query, *names, _FOUND)
        if not row[_FOUND]:  # only in another schema
            raise self.missing_table(table)
        return {name: row[name] for name in names}

    @contextmanager
    def _explain_missing(self, schema: str | None, table: str) -> Iterator[None]:
        """Raise TableNotFoundError if a query of a table has failed because there is no such table."""
        try:
            yield
        except SQLError:
            self.require_table(schema, table)
            raise

    def _read(self, query: str, read: Callable[[Any], T]) -> T:
        """Run a read-only query and convert its response."""
        return self._transport.json(
            "POST", PATH, idempotent=True, form={"q": query}, read=read, statement_timeout_s=STATEMENT_TIMEOUT_S
        )

    def _named(self, columns: list[SourceColumn], type_names: Mapping[str, Any] | None = None) -> list[SourceColumn]:
        names = self._user_types([column.pgtype for column in columns], type_names or {})
        return [replace(column, pgtype=names.get(column.pgtype, column.pgtype)) for column in columns]

    def _user_types(self, pgtypes: list[str], type_names: Mapping[str, Any]) -> dict[str, str]:
        """Return the names of types that the API returns as an OID only: enums, domains, types of extensions.

        Those in ``type_names``, by OID, are not queried.
        """
        unknown = {text: found[1] for text in pgtypes if (found := re.fullmatch(r"unknown\((\d+)\)", text))}
        missing = [oid for oid in unknown.values() if oid not in type_names]
        if missing:
            selected = ", ".join(f'{oid}::regtype::text AS "{oid}"' for oid in missing)
            type_names = {**type_names, **self.row(f"SELECT {selected}", *missing)}
        names = {text: str(type_names[oid]) for text, oid in unknown.items()}
        arrays = [name for name in names.values() if name.endswith("[]")]
        if not arrays:
            return names
        # PostgreSQL describes a column of a domain by its base type, but not an array of a domain.
        selected = ", ".join(f'(NULL::{name})[1] AS "{number}"' for number, name in enumerate(arrays))
        elements = self._read(f"SELECT {selected}", _columns)
        of_domains = {
            arrays[int(element.name)]: f"_{element.pgtype}"
            for element in elements
            if element.pgtype.isidentifier() and not element.pgtype.startswith("_")
        }
        return {text: of_domains.get(name, name) for text, name in names.items()}

    def schema(self) -> str:
        """Return the schema of the account."""
        return str(self.row("SELECT current_schema() AS name", "name")["name"])

    def tables(self) -> list[str]:
        """List the tables of the account that are visible to the key, sorted by name."""
        # Not FROM CDB_UserTables(): PostgreSQL would inline it, and only the master key has access to pg_class.
        rows = self.rows("SELECT CDB_UserTables() AS name")
        return sorted(parsed(lambda _: [required(row, "name") for row in rows], None, PATH))

    def views(self) -> list[str]:
        """List the views and materialized views of the account, without those of extensions; with the master key."""
        rows = self.rows(
            "SELECT relname AS name FROM pg_catalog.pg_class WHERE relkind IN ('v', 'm')"
            " AND relnamespace = current_schema()::regnamespace AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend"
            " WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')"
        )
        return parsed(lambda _: [required(row, "name") for row in rows], None, PATH)

    def has_table(self, schema: str | None, table: str) -> bool:
        """Return whether a table or view exists; the key need not have access to it."""
        return bool(self.row(f"SELECT {_exists(schema, table)} AS found", "found")["found"])

    def has_relation(self, schema: str | None, table: str) -> bool:
        """Return whether a name is taken by a table, view, index, sequence or composite type."""
        return bool(self.row(f"SELECT {_relation(schema, table)} IS NOT NULL AS found", "found")["found"])

    def require_table(self, schema: str | None, table: str) -> None:
        """Raise TableNotFoundError, with similar names, if a table does not exist."""
        if not self.has_table(schema, table):
            raise self.missing_table(table)

    def missing_table(self, table: str) -> TableNotFoundError:
        """Return the error for a table that does not exist, with similar names; requests the names of the tables."""
        tables = self.tables()
        name = normalize(table)
        similar = [name] if name in tables else difflib.get_close_matches(table, tables, n=3, cutoff=_SIMILAR)
        advice = f"did you mean {' or '.join(map(repr, similar))}?" if similar else "list_tables() returns all tables"
        if re.search(r"\s", table) and not similar:
            advice = "a query begins with SELECT, WITH, VALUES or TABLE"
        return TableNotFoundError(f"there is no table {table!r}: {advice}")


def _check_size(query: str) -> None:
    """Raise ValueError if a query is longer than the SQL API accepts."""
    size = len(query.encode())
    if size > MAX_QUERY_BYTES:
        raise ValueError(f"the query has {size} bytes, and the SQL API accepts {MAX_QUERY_BYTES}: send data by COPY")


def _exists(schema: str | None, table: str) -> str:
    """Compose the SQL expression whether a table or view exists; the key need not have access to it."""
    kind = f"(pg_identify_object('pg_class'::regclass, {_relation(schema, table)}::oid, 0)).type"
    return f"coalesce({kind} IN ({', '.join(map(literal, _TABLES))}), false)"


def _relation(schema: str | None, table: str) -> str:
    """Compose the SQL that looks up a relation, by default in the schema of the account."""
    name = literal(qualify(schema, table))
    return f"to_regclass({name})" if schema else f"to_regclass(quote_ident(current_schema()) || '.' || {name})"


def _table(response: Any) -> dict[str, Any]:
    """Check a JSON response with rows or GeoJSON features."""
    content = record(response)
    if "features" in content:
        records(content["features"])
        return content
    if content["rows"] is None:
        raise TypeError("the rows are null")
    records(content["rows"])
    record(content.get("fields") or {})
    return content


def _columns(response: Any) -> list[SourceColumn]:
    """Parse the columns in a JSON response."""
    fields = {name: record(field) for name, field in record(record(response)["fields"]).items()}
    return [
        SourceColumn(
            name,
            # Geometries have no pgtype, nor have types unknown to the API: their type is e.g. "unknown(16421)".
            text(field, "pgtype") or required(field, "type"),
            integer(field.get("srid")) or 0,
            integer(field.get("dims", 4)) or 0,
        )
        for name, field in fields.items()
    ]
