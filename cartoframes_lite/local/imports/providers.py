"""Providers of connectors: other databases that tables can be imported from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cartoframes_lite.local.imports import connectors, remote_postgres
from cartoframes_lite.local.imports.files import ImportJobError
from cartoframes_lite.local.imports.requests import owner_session
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.state import State

POSTGRES = "postgres"
CONNECTION = ("server", "port", "database", "username", "password", "sslmode")
_INVALID = 1502
_MAX_TABLES = 500


def providers() -> dict[str, Any]:
    """Return the API representation of all providers by id."""
    return {POSTGRES: {"name": "PostgreSQL", "description": None, "enabled": True}}


def information() -> dict[str, Any]:
    """Return the features and parameters of the provider ``postgres``."""
    features = {"sql_queries": True, "list_tables": True}
    unavailable = ("list_databases", "preview_table", "dry_run", "list_projects")
    connection = {
        "server": _parameter("Host name or address of the server", required=True),
        "port": _parameter("Port of the server, by default 5432"),
        "database": _parameter("Name of the database", required=True),
        "username": _parameter("User to log in as", required=True),
        "password": _parameter("Password of the user"),
        "sslmode": _parameter("SSL mode of libpq, by default prefer"),
    }
    parameters = {
        "connection": connection,
        "schema": _parameter("Schema of the table, by default public"),
        "table": _parameter("Table to import, if there is no sql_query", required=True),
        "sql_query": _parameter("Query whose rows are imported"),
        "import_as": _parameter("Name of the new table; required with sql_query"),
        "encoding": _parameter("Ignored: PostgreSQL converts text to UTF-8"),
    }
    return {"features": {**features, **dict.fromkeys(unavailable, False)}, "parameters": parameters}


def connect(state: State, parameters: Mapping[str, Any]) -> None:
    """Connect to a database, and disconnect. Parameters and exceptions are those of `list_tables`."""
    _list_tables(state, parameters, limit=0)


def list_tables(state: State, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return ``schema`` and ``name`` of at most 500 tables of a database.

    Parameters
    ----------
    state : State
    parameters : mapping
        Those in `CONNECTION`; others are ignored.

    Raises
    ------
    InvalidParametersError
        If parameters are missing or invalid.
    ImportJobError
        If the server cannot connect to the database, or may not list its tables.
    """
    return _list_tables(state, parameters, limit=_MAX_TABLES)


class InvalidParametersError(ValueError):
    """The parameters of a connection are missing or invalid."""


def _list_tables(state: State, parameters: Mapping[str, Any], *, limit: int) -> list[dict[str, Any]]:
    """Connect to a database and list its tables."""
    given = {name: parameters[name] for name in CONNECTION if parameters.get(name)}
    try:
        server = connectors.open_server(given)
        with owner_session(state, Cancellation()) as connection:
            return remote_postgres.list_tables(server, connection, state.plan, limit=limit)
    except ImportJobError as error:
        if error.code == _INVALID:
            raise InvalidParametersError(error.detail) from error
        raise


def _parameter(description: str, *, required: bool = False) -> dict[str, Any]:
    """Return the API representation of a parameter."""
    return {"required": required, "description": description}
