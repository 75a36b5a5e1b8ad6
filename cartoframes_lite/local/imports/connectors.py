"""Import tables and queries of other databases (connectors)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.catalog.names import sanitize_table
from cartoframes_lite.local.imports import remote_postgres
from cartoframes_lite.local.imports.files import ImportJobError, StagedTable, cartodbfy
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan

_INVALID = 1502
_PROVIDERS = ("postgres", "postgresql")
_PARAMETERS = frozenset({"provider", "connection", "schema", "table", "sql_query", "import_as", "encoding", "interval"})
_CONNECTION = frozenset({"server", "port", "database", "username", "password", "sslmode"})
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_PORT_RANGE = range(1, 65536)


def unwrap_parameters(connector: Any) -> dict[str, Any]:
    """Return a connector's parameters; clients may nest them in one or more ``connector`` objects.

    Parameters
    ----------
    connector : mapping
        The parameters, or ``{"connector": {...}}`` with optional parameters on the outer level. Inner ones win.

    Raises
    ------
    ImportJobError
        1502 if a level is not an object.
    """
    if not isinstance(connector, Mapping):
        raise ImportJobError(_INVALID, "the connector must be an object")
    inner = connector.get("connector")
    if inner is None:
        return dict(connector)
    siblings = {name: value for name, value in connector.items() if name != "connector"}
    return {**siblings, **unwrap_parameters(inner)}


def redact_password(connector: Mapping[str, Any]) -> dict[str, Any]:
    """Return a connector without its password."""
    connection = connector.get("connection")
    if not isinstance(connection, Mapping):
        return {**connector, "connection": None}  # a connection string may contain a password anywhere
    return {**connector, "connection": {**connection, "password": "***"}}


def stage_connector(
    connection: psycopg.Connection[Any],
    connector: Mapping[str, Any],
    *,
    plan: Plan,
    cancellation: Cancellation | None = None,
) -> StagedTable:
    """Copy a table or the result of a query from another database into a staging table.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection of the account's owner, in a transaction.
    connector : mapping
        ``provider``, ``connection``, and ``table`` (with ``schema``) or ``sql_query`` (with ``import_as``).
    plan : Plan
    cancellation : Cancellation, optional
        Closes the connection to the other database.

    Raises
    ------
    ImportJobError
        1502 for invalid parameters, 1500 for an error of the other database. The detail contains no password.
    """
    parameters = unwrap_parameters(connector)
    check_parameters(parameters)
    query, name = _source(parameters)
    server = _server(parameters["connection"])
    table, rows = remote_postgres.copy(server, query, connection, plan, cancellation or Cancellation())
    cartodbfy(connection, table)
    return StagedTable(table, sanitize_table(name), rows)


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise ImportJobError (1502) for parameters that are unknown, missing or of the wrong type."""
    if not parameters.get("provider"):
        raise ImportJobError(_INVALID, "Provider not defined")
    if parameters["provider"] not in _PROVIDERS:
        raise ImportJobError(_INVALID, f"Invalid provider Provider: {parameters['provider']}")
    if not isinstance(parameters.get("connection"), Mapping):
        raise ImportJobError(_INVALID, "connection must be an object")
    _check_names(parameters, _PARAMETERS)
    _check_connection(parameters["connection"])
    if not parameters.get("table") and not (parameters.get("sql_query") and parameters.get("import_as")):
        raise ImportJobError(_INVALID, "give table, or sql_query and import_as")
    _check_texts(parameters, ("schema", "table", "sql_query", "import_as"))


def open_server(parameters: Mapping[str, Any]) -> remote_postgres.Server:
    """Return the server of connection parameters; raise ImportJobError (1502) if they are invalid."""
    _check_connection(parameters)
    return _server(parameters)


def _check_names(parameters: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise ImportJobError for parameters that are unknown."""
    if unknown := {str(name) for name in parameters.keys() - known}:
        raise ImportJobError(_INVALID, f"unknown parameters: {', '.join(sorted(unknown))}")


def _check_texts(parameters: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise ImportJobError for parameters that are not strings."""
    texts = [parameters.get(name) for name in names]
    if not all(text is None or (isinstance(text, str) and "\0" not in text) for text in texts):
        raise ImportJobError(_INVALID, "all parameters except port must be strings")


def _check_connection(connection: Mapping[str, Any]) -> None:
    """Raise ImportJobError for connection parameters that are unknown, missing or invalid."""
    _check_names(connection, _CONNECTION)
    missing = [name for name in ("server", "database", "username") if not connection.get(name)]
    if missing:
        raise ImportJobError(_INVALID, f"missing in connection: {', '.join(missing)}")
    _check_texts(connection, ("server", "database", "username", "password"))
    port = str(connection.get("port") or 5432)
    if not port.isdecimal() or len(port) > len(str(_PORT_RANGE.stop)) or int(port) not in _PORT_RANGE:
        raise ImportJobError(_INVALID, f"invalid port {port!r}: give a number from 1 to 65535")
    if "," in connection["server"]:
        raise ImportJobError(_INVALID, "server must be a single host, not a list")
    if (connection.get("sslmode") or "prefer") not in _SSL_MODES:
        raise ImportJobError(_INVALID, f"invalid sslmode: use one of {', '.join(_SSL_MODES)}")


def _source(parameters: Mapping[str, Any]) -> tuple[sql.Composable, str]:
    """Return the query to copy and the name of the new table."""
    name = parameters.get("import_as") or parameters.get("table") or ""
    if parameters.get("sql_query"):
        # The newline ends a trailing comment, which would hide the closing parenthesis.
        return sql.SQL("({}\n)").format(sql.SQL(parameters["sql_query"].strip().rstrip(";"))), name
    return sql.SQL("(TABLE {})").format(sql.Identifier(parameters.get("schema") or "public", parameters["table"])), name


def _server(connection: Mapping[str, Any]) -> remote_postgres.Server:
    """Return the server of a validated connection."""
    return remote_postgres.Server(
        host=connection["server"],
        port=int(connection.get("port") or 5432),
        database=connection["database"],
        user=connection["username"],
        password=connection.get("password") or "",
        sslmode=connection.get("sslmode") or "prefer",
    )
