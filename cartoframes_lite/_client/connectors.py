"""Connectors: descriptions of another database that the server imports from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cartoframes_lite._codec.names import carto_table_name
from cartoframes_lite.errors import CartoError

# Members of a connection that may appear in errors; all others are treated as secrets.
_NOT_SECRET = frozenset({"server", "port", "database", "username", "sslmode", "schema", "warehouse", "encoding"})


def wrap_connector(connector: Mapping[str, Any]) -> dict[str, Any]:
    """Nest a connector, and all members next to it, in the member ``connector`` that the API requires."""
    inner = connector.get("connector", {})
    return {"connector": {**inner, **{name: value for name, value in connector.items() if name != "connector"}}}


def unwrap_connector(connector: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Return a connector without its wrapping member; raise ValueError if it has no provider or connection."""
    unwrapped: dict[str, Any] = wrap_connector(connector)["connector"]
    if not unwrapped.get("provider") or not isinstance(unwrapped.get("connection"), Mapping):
        raise ValueError("connector has no provider, or its connection is not a mapping: pass both")
    requested = unwrapped.get("import_as") if name is None else name
    # With "skip", CARTO compares the requested name, not the table name made of it, with the existing tables.
    return {**unwrapped, "import_as": carto_table_name(requested)} if isinstance(requested, str) else unwrapped


@contextmanager
def redact_secrets(connector: Mapping[str, Any]) -> Iterator[None]:
    """Replace the secrets of a connector in errors by ``***``, because messages of the server may contain them."""
    connection = wrap_connector(connector)["connector"].get("connection", {})
    secrets = [str(value) for name, value in connection.items() if name not in _NOT_SECRET and value]

    def redact(value: Any) -> Any:
        for secret in secrets:
            value = value.replace(secret, "***") if isinstance(value, str) else value
        return value

    try:
        yield
    except CartoError as error:
        error.args = tuple(map(redact, error.args))
        for name, value in vars(error).items():
            setattr(error, name, redact(value))
        raise
