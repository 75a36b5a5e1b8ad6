"""Parse the parameters of ``/sql`` into a query."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cartoframes_lite.local.http.request_bodies import Parameters
from cartoframes_lite.local.http.responses import RequestError, safe_callback
from cartoframes_lite.local.sql.formats import FORMATS
from cartoframes_lite.local.sql.statements import first_word, without_semicolon

_INTEGER = re.compile(r"\s*([+-]?\d+)", re.ASCII)
_MAX_DIGITS = 308  # any integer of so many digits fits into a double
_MAX_DECIMALS = 2**31 - 1  # PostGIS takes an int4
_MAX_FILENAME_CHARACTERS = 200  # without extension
_MAX_QUERY_CHARACTERS = 1_000_000  # limit documented by CARTO


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A request to ``/sql``.

    Attributes
    ----------
    text : str
        The parameter ``q``.
    sql : str
        ``text`` with the parameters for sorting and paging applied.
    format : str
    skip : frozenset of str
        Columns to omit.
    decimals : int
        Decimal places of coordinates.
    filename : str
        Without extension.
    callback : str
        JSONP callback, empty for none.
    inline : bool
        Content disposition: inline or attachment.
    """

    text: str
    sql: str
    format: str
    skip: frozenset[str]
    decimals: int
    filename: str
    callback: str
    inline: bool

    @classmethod
    def of(cls, parameters: Parameters) -> QueryRequest:
        """Parse parameters; raise RequestError if one is invalid."""
        sql = parameters.get("q")
        if not isinstance(sql, str):
            raise RequestError("You must indicate a sql query")
        if len(sql) > _MAX_QUERY_CHARACTERS:
            raise RequestError(f"the query has more than {_MAX_QUERY_CHARACTERS} characters", status=413)
        chosen = parameters.get("format") or "json"
        chosen = str(chosen[-1] if isinstance(chosen, list) else chosen).lower()
        if chosen not in ("json", *FORMATS):
            raise RequestError(f"Invalid format: {chosen}")
        skip = parameters.get("skipfields") or []
        skip = ",".join(map(str, skip)) if isinstance(skip, list) else str(skip)
        decimals = leading_integer(parameters.get("dp") or 6)
        if decimals is None or abs(decimals) > _MAX_DECIMALS:
            raise RequestError("dp must be a number")
        return cls(
            text=sql,
            sql=paged(ordered(sql, parameters), parameters),
            format=chosen,
            skip=frozenset(filter(None, skip.split(","))),
            decimals=decimals,
            filename=_filename(parameters.get("filename")),
            callback=safe_callback(str(parameters.get("callback") or "")),
            inline=not (parameters.get("format") or parameters.get("filename")),
        )

    def headers(self, content_type: str, extension: str) -> dict[str, str]:
        """Return the headers of the response."""
        now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        disposition = "inline" if self.inline else "attachment"
        return {
            "Content-Type": content_type,
            "Content-Disposition": (f'{disposition}; filename={self.filename}.{extension}; modification-date="{now}";'),
            "Cache-Control": "no-cache,max-age=0,must-revalidate,public",
        }


def ordered(sql: str, parameters: Parameters) -> str:
    """Add an ORDER BY for the parameters ``order_by`` and ``sort_order`` to a query that returns rows."""
    column = parameters.get("order_by")
    if not isinstance(column, str) or not column or not _returns_rows(sql):
        return sql
    direction = str(parameters.get("sort_order") or "").upper()
    quoted = '"' + column.replace('"', '""') + '"'
    return f"{as_subquery(sql)} ORDER BY {quoted} {direction if direction in ('ASC', 'DESC') else ''}"


def paged(sql: str, parameters: Parameters) -> str:
    """Add LIMIT and OFFSET if the parameters ``rows_per_page`` and ``page`` are both set."""
    limit, page = (leading_integer(parameters.get(name)) for name in ("rows_per_page", "page"))
    if limit is None or page is None or not _returns_rows(sql):
        return sql
    return f"{as_subquery(sql)} LIMIT {limit} OFFSET {limit * page}"


def as_subquery(sql: str) -> str:
    """Return a query that selects all rows of another query."""
    return f"SELECT * FROM ({without_semicolon(sql)}\n) AS cdbq_1"


def _returns_rows(sql: str) -> bool:
    """Return whether a query can be used as a subquery: SELECT or WITH."""
    return first_word(sql) in ("select", "with")


def leading_integer(value: Any) -> int | None:
    """Return the integer at the start of a value, like parseInt in JavaScript; None if it is missing or infinite."""
    found = _INTEGER.match(str(value))
    return int(found[1]) if found and len(found[1]) <= _MAX_DIGITS else None


def _filename(value: Any) -> str:
    """Return a file name without directory and extension, safe for a header."""
    name = str(value or "").replace("\\", "/").rsplit("/", 1)[-1].lstrip(".")
    stem = name.rpartition(".")[0] or name or "cartodb-query"
    return re.sub(r"[;()\[\]<>'\"\s]|[^\x20-\x7e]", "_", stem[:_MAX_FILENAME_CHARACTERS])
