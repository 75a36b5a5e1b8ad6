"""The SQL API: queries whose answer is small."""

from __future__ import annotations

import difflib
import json
import os
import re
from functools import partial
from typing import Any, Literal

from cartoframes_lite._client.files import write_blocks
from cartoframes_lite._client.transport import Transport
from cartoframes_lite._codec.names import literal, qualify
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.errors import ConnectionFailed, TableNotFoundError, error_from_response

PATH = "api/v2/sql"
_MAX_QUERY_BYTES = 1_000_000  # the API takes bodies of 1 MB
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
            GET has room for some 7,000 bytes, and caches on the way may answer it.
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
        """
        if len(query.encode()) > _MAX_QUERY_BYTES:
            raise ValueError("the query is longer than the 1 MB that the SQL API takes: send data by COPY")
        parameters = {"q": query, "format": format, "dp": dp, "filename": filename}
        arguments = {"form" if method == "POST" else "query": {k: v for k, v in parameters.items() if v is not None}}
        if format in _JSON_FORMATS:
            answer = self._transport.json(method, PATH, idempotent=idempotent, **arguments)
            if not isinstance(answer, dict) or not {"rows", "features"} & answer.keys():
                raise ConnectionFailed("the answer is not one of the SQL API: check base_url, and what is on the way")
            return answer
        return self._transport.request(method, PATH, idempotent=idempotent, **arguments)

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
        """
        parameters = {"q": query, "format": format, "dp": dp, "filename": filename}
        form = {name: value for name, value in parameters.items() if value is not None}
        check = partial(raise_appended_error, path=PATH, opening=b',"error":' if format == "geojson" else None)
        with self._transport.stream("POST", PATH, form=form) as blocks:
            return write_blocks(path, blocks, check=check)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Run a query that only reads and give its rows, as JSON has them."""
        rows: list[dict[str, Any]] = self.send(query, idempotent=True)["rows"]
        return rows

    def columns(self, source: str) -> list[SourceColumn]:
        """Ask for the columns of what stands behind FROM, without rows.

        Parameters
        ----------
        source : str
            A quoted table, or a query in parentheses with an alias.
        """
        fields = self.send(f"SELECT * FROM {source} LIMIT 0", idempotent=True)["fields"]
        # Geometries have no pgtype; neither have types that the API does not know, as "unknown(16421)".
        pgtypes = {name: field.get("pgtype") or field["type"] for name, field in fields.items()}
        names = self._user_types(list(pgtypes.values()))
        return [
            SourceColumn(name, names.get(pgtype, pgtype), fields[name].get("srid", 0), fields[name].get("dims", 4))
            for name, pgtype in pgtypes.items()
        ]

    def _user_types(self, pgtypes: list[str]) -> dict[str, str]:
        """Ask for the names of types that the API gives by number only: enums, domains, extensions."""
        unknown = {text: found[1] for text in pgtypes if (found := re.fullmatch(r"unknown\((\d+)\)", text))}
        if not unknown:
            return {}
        (row,) = self.rows("SELECT " + ", ".join(f'{oid}::regtype::text AS "{oid}"' for oid in unknown.values()))
        return {text: row[oid] for text, oid in unknown.items()}

    def schema(self) -> str:
        """Ask for the schema of the account."""
        (row,) = self.rows("SELECT current_schema() AS name")
        return str(row["name"])

    def tables(self) -> list[str]:
        """List the tables of the account that the key can see, by name."""
        # Not FROM CDB_UserTables(): that is inlined, and other keys than the master key may not read pg_class.
        return sorted(row["name"] for row in self.rows("SELECT CDB_UserTables() AS name"))

    def has_table(self, schema: str | None, table: str) -> bool:
        """Say whether there is such a table or view; it need not be readable."""
        place = literal(qualify(schema, table))
        if schema is None:
            place = f"quote_ident(current_schema()) || '.' || {place}"
        (row,) = self.rows(f"SELECT to_regclass({place}) IS NOT NULL AS found")
        return bool(row["found"])

    def require_table(self, schema: str | None, table: str) -> None:
        """Raise TableNotFoundError, with the names that come near, if there is no such table."""
        if self.has_table(schema, table):
            return
        near = difflib.get_close_matches(table, self.tables(), n=3)
        advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "list_tables() tells which there are"
        if re.search(r"\s", table):
            advice = "a query begins with SELECT, WITH, VALUES or TABLE"
        raise TableNotFoundError(f"there is no table {table!r}: {advice}")


def raise_appended_error(tail: bytes, *, path: str, opening: bytes | None = b'{"error":') -> None:
    """Raise the error that the server wrote behind the data, if the end of the data is one.

    Parameters
    ----------
    tail : bytes
        End of the data.
    path : str
        What the message says was asked for.
    opening : bytes, optional
        What such an error begins with: a JSON object of its own, or a member of the object that the data are.
        None if there is never one.
    """
    at = -1 if opening is None else tail.rfind(opening)
    if at < 0:
        return
    error = b"{" + tail[at + 1 :]
    try:
        json.loads(error)
    except ValueError:
        return
    raise error_from_response("POST", path, 200, {}, error)
