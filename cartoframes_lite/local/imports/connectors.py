"""Tables and queries of other databases as tables of the account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.imports import remote_postgres
from cartoframes_lite.local.imports.files import ImportRefused, StagedTable, cartodbfy, normalize
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan

_INVALID = 1502
_PROVIDERS = ("postgres", "postgresql")
_PARAMETERS = {"provider", "connection", "schema", "table", "sql_query", "import_as", "encoding", "interval"}
_CONNECTION = {"server", "port", "database", "username", "password", "sslmode"}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_PORTS = range(1, 65536)


def parameters(connector: Any) -> dict[str, Any]:
    """Return a connector's parameters, which clients wrap in one another.

    Parameters
    ----------
    connector : mapping
        The parameters themselves, or ``{"connector": {...}}``, some of them beside it.

    Raises
    ------
    ImportRefused
        1502 if it is no object.
    """
    if not isinstance(connector, Mapping):
        raise ImportRefused(_INVALID, "the connector has to be an object")
    inner = connector.get("connector")
    if inner is None:
        return dict(connector)
    beside = {name: value for name, value in connector.items() if name != "connector"}
    return {**beside, **parameters(inner)}


def redacted(connector: Mapping[str, Any]) -> dict[str, Any]:
    """Return a connector without its password."""
    connection = connector.get("connection")
    if not isinstance(connection, Mapping):
        return {**connector, "connection": None}  # as text, it may hold one anywhere
    return {**connector, "connection": {**connection, "password": "***"}}


def stage_connector(
    connection: psycopg.Connection[Any],
    connector: Mapping[str, Any],
    *,
    plan: Plan,
    cancellation: Cancellation | None = None,
) -> StagedTable:
    """Copy a table, or the rows of a query, from another database.

    Parameters
    ----------
    connection : psycopg.Connection
        Of the account's owner, in a transaction.
    connector : mapping
        ``provider``, ``connection``, and ``table`` (with ``schema``) or ``sql_query`` (with ``import_as``).
    plan : Plan
    cancellation : Cancellation, optional
        Ends the connection to the other database.

    Raises
    ------
    ImportRefused
        1502 for parameters that make no sense, 1500 if the other database refuses, without the password.
    """
    given = parameters(connector)
    _check(given)
    query, name = _source(given)
    server = _server(given["connection"])
    table, rows = remote_postgres.copy(server, query, connection, plan, cancellation or Cancellation())
    cartodbfy(connection, table)
    return StagedTable(table, normalize(name), rows)


def _check(given: Mapping[str, Any]) -> None:
    """Refuse parameters that are unknown, missing or of another type than they should be."""
    if given.get("provider") not in _PROVIDERS:
        raise ImportRefused(_INVALID, f"unknown provider {given.get('provider')!r}, known are {', '.join(_PROVIDERS)}")
    connection = given.get("connection")
    if not isinstance(connection, Mapping):
        raise ImportRefused(_INVALID, "connection has to be an object")
    unknown = {str(name) for name in (given.keys() - _PARAMETERS) | (connection.keys() - _CONNECTION)}
    if unknown:
        raise ImportRefused(_INVALID, f"unknown parameters: {', '.join(sorted(unknown))}")
    missing = [name for name in ("server", "database", "username") if not connection.get(name)]
    if missing:
        raise ImportRefused(_INVALID, f"missing in connection: {', '.join(missing)}")
    if not given.get("table") and not (given.get("sql_query") and given.get("import_as")):
        raise ImportRefused(_INVALID, "give table, or sql_query and import_as")
    texts = [given.get(name) for name in ("schema", "table", "sql_query", "import_as")]
    texts += [connection.get(name) for name in ("server", "database", "username", "password")]
    if not all(text is None or (isinstance(text, str) and "\0" not in text) for text in texts):
        raise ImportRefused(_INVALID, "all parameters but port have to be text")
    port = str(connection.get("port") or 5432)
    if not port.isdecimal() or len(port) > len(str(_PORTS.stop)) or int(port) not in _PORTS:
        raise ImportRefused(_INVALID, "port has to be a number up to 65535")
    if "," in connection["server"]:
        raise ImportRefused(_INVALID, "server has to be one, not a list")
    if (connection.get("sslmode") or "prefer") not in _SSL_MODES:
        raise ImportRefused(_INVALID, f"sslmode is one of {', '.join(_SSL_MODES)}")


def _source(given: Mapping[str, Any]) -> tuple[sql.Composable, str]:
    """Return the query to copy the rows of, and the name of the table to make."""
    name = given.get("import_as") or given.get("table") or ""
    if given.get("sql_query"):
        # The line ends so that a comment at the end of the query does.
        return sql.SQL("({}\n)").format(sql.SQL(given["sql_query"].strip().rstrip(";"))), name
    return sql.SQL("(TABLE {})").format(sql.Identifier(given.get("schema") or "public", given["table"])), name


def _server(connection: Mapping[str, Any]) -> remote_postgres.Server:
    """Return the server of a connection that was checked."""
    return remote_postgres.Server(
        host=connection["server"],
        port=int(connection.get("port") or 5432),
        database=connection["database"],
        user=connection["username"],
        password=connection.get("password") or "",
        sslmode=connection.get("sslmode") or "prefer",
    )
