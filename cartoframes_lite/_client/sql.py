"""The SQL API: queries whose response is small."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace
from typing import Any, Literal

from cartoframes_lite._client.http.downloads import FORMATS, check_bytes, write_blocks
from cartoframes_lite._client.http.json_fields import integer, parsed, record, records, required, text
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._codec.layout_sql import LAYOUT, columns_with_layout
from cartoframes_lite._codec.names import literal, qualify
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.errors import SQLError, TableNotFoundError

PATH = "api/v2/sql"
_MAX_QUERY_BYTES = 1_000_000  # the API takes bodies of 1 MB
_TABLES = ("table", "view", "materialized view", "foreign table")  # as pg_identify_object calls them
_JSON_FORMATS = (None, "json", "geojson")

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
    ) -> Any:
        """Run one or several statements; several are one transaction.

        JSON rounds: bigint and numeric to doubles, timestamps to seconds. ``read_carto`` does not.

        Parameters
        ----------
        query : str
        method : {"POST", "GET"}
            GET has room for some 7,000 bytes, and caches on the way may response it.
        format : str, optional
            None is JSON.
        dp : int, optional
            Decimals of coordinates in geojson and svg. None: the server's 6, some 0.1 m.
        filename : str, optional
            Name of the file inside an export.
        idempotent : bool, default False
            Whether it may be sent again if it is not known what became of it; True for what only reads.

        Returns
        -------
        dict or bytes
            The decoded JSON of json and geojson, else the file.

        Raises
        ------
        SQLError
            If PostgreSQL refuses it, also after the first rows.
        QueryTimeout
            If it runs longer than the account allows.
        ConnectionFailed
            If the response is not complete, or not one of the SQL API.
        """
        if len(query.encode()) > _MAX_QUERY_BYTES:
            raise ValueError("the query is longer than the 1 MB that the SQL API takes: send data by COPY")
        parameters = {"q": query, "format": format, "dp": dp, "filename": filename}
        given = {name: value for name, value in parameters.items() if value is not None}
        form, query_ = (given, None) if method == "POST" else (None, given)
        if format in _JSON_FORMATS:
            return self._transport.json(method, PATH, idempotent=idempotent, read=_table, form=form, query=query_)
        content = self._transport.request(method, PATH, idempotent=idempotent, form=form, query=query_)
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
        """Run a query and write its rows to a file, which appears only when it is complete.

        Parameters are those of ``send``, the format without JSON.

        Returns
        -------
        int
            Size of the file in bytes.

        Raises
        ------
        SQLError
            If the query failed, also after the first rows.
        ConnectionFailed
            If the file is not complete.
        """
        if format not in FORMATS:
            raise ValueError(f"format must be one of {sorted(FORMATS)}, not {format!r}")
        parameters = {"q": query, "format": format, "dp": dp, "filename": filename}
        form = {name: value for name, value in parameters.items() if value is not None}
        with self._transport.stream("POST", PATH, form=form) as blocks:
            return write_blocks(path, blocks, check=lambda file: FORMATS[format](file, PATH))

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Run a query that only reads and give its rows, as JSON has them."""
        rows: list[dict[str, Any]] = self.send(query, idempotent=True)["rows"]
        return rows

    def row(self, query: str, *names: str) -> dict[str, Any]:
        """Run a query that only reads and gives one row.

        Raises
        ------
        ConnectionFailed
            If the response has another number of rows, or not all of the columns that are named.
        """

        def read(response: Any) -> dict[str, Any]:
            (row,) = _table(response)["rows"]
            return {name: row[name] for name in names}

        return self._transport.json("POST", PATH, idempotent=True, form={"q": query}, read=read)

    def columns(self, source: str) -> list[SourceColumn]:
        """Ask for the columns of what stands behind FROM, without rows.

        Parameters
        ----------
        source : str
            A quoted table, or a query in parentheses with an alias.
        """
        query = f"SELECT * FROM {source} LIMIT 0"
        return self._named(self._transport.json("POST", PATH, idempotent=True, form={"q": query}, read=_columns))

    def columns_and_layout(self, source: str, *, is_query: bool) -> tuple[list[SourceColumn], str | None]:
        """Ask as ``columns`` does, and for what changes if a table of the source is made anew or gets other columns.

        It is None if the server cannot tell.
        """

        def read(response: Any) -> tuple[list[SourceColumn], str | None]:
            (row,) = _table(response)["rows"]
            return [column for column in _columns(response) if column.name != LAYOUT], text(row, LAYOUT)

        query = columns_with_layout(source, is_query=is_query)
        if len(query.encode()) > _MAX_QUERY_BYTES:
            return self.columns(source), None
        try:
            found, layout = self._transport.json("POST", PATH, idempotent=True, form={"q": query}, read=read)
        except SQLError:  # if the source is wrong, this says it in the words that belong to it
            return self.columns(source), None
        return self._named(found), layout

    def _named(self, columns: list[SourceColumn]) -> list[SourceColumn]:
        names = self._user_types([column.pgtype for column in columns])
        return [replace(column, pgtype=names.get(column.pgtype, column.pgtype)) for column in columns]

    def _user_types(self, pgtypes: list[str]) -> dict[str, str]:
        """Ask for the names of types that the API gives by number only: enums, domains, extensions."""
        unknown = {text: found[1] for text in pgtypes if (found := re.fullmatch(r"unknown\((\d+)\)", text))}
        if not unknown:
            return {}
        selected = ", ".join(f'{oid}::regtype::text AS "{oid}"' for oid in unknown.values())
        row = self.row(f"SELECT {selected}", *unknown.values())
        names = {text: str(row[oid]) for text, oid in unknown.items()}
        arrays = [name for name in names.values() if name.endswith("[]")]
        if not arrays:
            return names
        # A domain is announced as the type below it, but not an array of a domain.
        selected = ", ".join(f'(NULL::{name})[1] AS "{number}"' for number, name in enumerate(arrays))
        elements = self._transport.json("POST", PATH, idempotent=True, form={"q": f"SELECT {selected}"}, read=_columns)
        of_domains = {
            arrays[int(element.name)]: f"_{element.pgtype}"
            for element in elements
            if element.pgtype.isidentifier() and not element.pgtype.startswith("_")
        }
        return {text: of_domains.get(name, name) for text, name in names.items()}

    def schema(self) -> str:
        """Ask for the schema of the account."""
        return str(self.row("SELECT current_schema() AS name", "name")["name"])

    def tables(self) -> list[str]:
        """List the tables of the account that the key can see, by name."""
        # Not FROM CDB_UserTables(): that is inlined, and other keys than the master key may not read pg_class.
        rows = self.rows("SELECT CDB_UserTables() AS name")
        return sorted(parsed(lambda _: [required(row, "name") for row in rows], None, PATH))

    def has_table(self, schema: str | None, table: str) -> bool:
        """Say whether there is such a table or view; it need not be readable."""
        kind = f"(pg_identify_object('pg_class'::regclass, {_relation(schema, table)}::oid, 0)).type"
        kinds = ", ".join(map(literal, _TABLES))
        return bool(self.row(f"SELECT coalesce({kind} IN ({kinds}), false) AS found", "found")["found"])

    def has_relation(self, schema: str | None, table: str) -> bool:
        """Say whether a name is taken: by a table or view, or by an index, a sequence or a composite type."""
        return bool(self.row(f"SELECT {_relation(schema, table)} IS NOT NULL AS found", "found")["found"])

    def require_table(self, schema: str | None, table: str) -> None:
        """Raise TableNotFoundError, with the names that come near, if there is no such table."""
        if self.has_table(schema, table):
            return
        near = difflib.get_close_matches(table, self.tables(), n=3)
        advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "list_tables() tells which there are"
        if re.search(r"\s", table):
            advice = "a query begins with SELECT, WITH, VALUES or TABLE"
        raise TableNotFoundError(f"there is no table {table!r}: {advice}")


def _relation(schema: str | None, table: str) -> str:
    """Compose what finds a relation; without a schema in that of the account."""
    place = literal(qualify(schema, table))
    return f"to_regclass({place})" if schema else f"to_regclass(quote_ident(current_schema()) || '.' || {place})"


def _table(response: Any) -> dict[str, Any]:
    """Read rows as JSON, or features."""
    found = record(response)
    if "features" in found:
        records(found["features"])
        return found
    if found["rows"] is None:
        raise TypeError("the rows are null")
    records(found["rows"])
    record(found.get("fields") or {})
    return found


def _columns(response: Any) -> list[SourceColumn]:
    """Read the columns of a query."""
    fields = {name: record(field) for name, field in record(record(response)["fields"]).items()}
    return [
        SourceColumn(
            name,
            # Geometries have no pgtype; neither have types that the API does not know, as "unknown(16421)".
            text(field, "pgtype") or required(field, "type"),
            integer(field.get("srid")) or 0,
            integer(field.get("dims", 4)) or 0,
        )
        for name, field in fields.items()
    ]
