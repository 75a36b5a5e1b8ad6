"""API keys: made with what they may do, read, regenerated, deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args
from urllib.parse import quote

from cartoframes_lite._client.http.json_fields import parse_datetime, record, records, required, texts
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.platform import CREATED, Platform
from cartoframes_lite._client.sql import SQL

PATH = "api/v3/api_keys"
_PAGE = 100

TablePermission = Literal["select", "insert", "update", "delete"]


@dataclass(frozen=True, slots=True)
class TableGrant:
    """What a key may do with one table.

    Attributes
    ----------
    schema, name : str
    permissions : tuple of str
        Of "select", "insert", "update", "delete".
    """

    schema: str
    name: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class APIKey:
    """An API key; its repr does not show the token.

    Attributes
    ----------
    name : str
    token : str
        What ``Credentials`` takes as ``api_key``.
    kind : str
        "master", "default" or "regular".
    apis : tuple of str
        Of "sql" and "maps".
    tables : tuple of TableGrant
    create_in : tuple of str
        Schemas that the key may create tables in.
    lists_tables : bool
        Whether the key may list the datasets of the account.
    created_at, updated_at : datetime or None
        With time zone.
    """

    name: str
    token: str = field(repr=False)
    kind: str
    apis: tuple[str, ...]
    tables: tuple[TableGrant, ...]
    create_in: tuple[str, ...]
    lists_tables: bool
    created_at: datetime | None
    updated_at: datetime | None

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> APIKey:
        """Parse a response of the API."""
        sections = {required(section, "type"): section for section in records(record(response).get("grants") or [])}
        database = sections.get("database", {})
        return cls(
            name=required(response, "name"),
            token=required(response, "token"),
            kind=required(response, "type"),
            apis=texts(sections.get("apis", {}).get("apis") or []),
            tables=tuple(
                TableGrant(required(table, "schema"), required(table, "name"), texts(table["permissions"]))
                for table in records(database.get("tables") or [])
            ),
            create_in=tuple(
                required(schema, "name")
                for schema in records(database.get("schemas") or [])
                if "create" in texts(schema["permissions"])
            ),
            lists_tables="table_metadata" in database,
            created_at=parse_datetime(response.get("created_at")),
            updated_at=parse_datetime(response.get("updated_at")),
        )


class APIKeys:
    """``client.api_keys``.

    Parameters
    ----------
    transport : Transport
    sql : SQL
        Knows the schema of the account.
    """

    def __init__(self, transport: Transport, sql: SQL) -> None:
        self._platform = Platform(transport)
        self._sql = sql

    def list(self) -> list[APIKey]:
        """List the keys; a key that is not the master key sees itself only."""
        keys: dict[str, APIKey] = {}
        page = 0
        while True:
            page += 1
            query = {"page": page, "per_page": _PAGE}
            found = self._platform.json("GET", PATH, what="listing API keys", read=_page, query=query)
            keys |= {key.name: key for key in found}
            if len(found) < _PAGE:
                return [*keys.values()]

    def get(self, name: str) -> APIKey:
        """Ask for a key by its name."""
        return self._platform.json("GET", _path(name), what="reading API keys", read=APIKey.from_response)

    def create(
        self,
        name: str,
        *,
        tables: Mapping[str, Sequence[TablePermission] | Literal["r", "rw"]] | None = None,
        create_tables: bool = False,
        list_tables: bool = False,
        apis: Sequence[Literal["sql", "maps"]] = ("sql", "maps"),
        services: Sequence[str] = (),
    ) -> APIKey:
        """Make a key that may do less than the master key.

        Parameters
        ----------
        name : str
            Unique in the account.
        tables : mapping of str to permissions, optional
            By table, or ``"schema.table"``: "r", "rw", or some of "select", "insert", "update", "delete".
        create_tables : bool, default False
            Whether it may create tables, as ``to_carto`` also does to extend or replace those it may write to. Only
            the key that made a table, and the master key, can give it other columns.
        list_tables : bool, default False
            Whether it may list the datasets of the account.
        apis : sequence of {"sql", "maps"}
        services : sequence of str
            Data services: "geocoding", "routing", "isolines", "observatory".

        Raises
        ------
        ValueError
            If a permission is not one of those above.
        APIError
            If the name is taken or a table does not exist.

        Examples
        --------
        >>> import cartoframes_lite as cfl
        >>> client = cfl.Client()
        >>> key = client.api_keys.create("nightly", tables={"stations": "rw"}, create_tables=True)
        >>> nightly = cfl.Credentials("ann", key.token)
        """
        permissions = {table: _permissions(asked) for table, asked in (tables or {}).items()}
        grants: list[dict[str, Any]] = [{"type": "apis", "apis": list(apis)}]
        if permissions or create_tables or list_tables:
            schema = self._sql.schema() if create_tables or any("." not in table for table in permissions) else ""
            grants.append(_database(permissions, schema, create_tables, list_tables))
        if services:
            grants.append({"type": "dataservices", "services": list(services)})
        body = {"name": name, "grants": grants}
        what = "creating API keys"
        return self._platform.json("POST", PATH, what=what, read=APIKey.from_response, json_body=body, expect=CREATED)

    def regenerate(self, name: str) -> APIKey:
        """Give a key a new token; the old one is unknown from now on.

        That of the master key, too: these credentials do not work any more then.
        """
        what = "regenerating API keys"
        return self._platform.json("POST", f"{_path(name)}/token/regenerate", what=what, read=APIKey.from_response)

    def delete(self, name: str) -> None:
        """Delete a key; the tables that it made stay."""
        self._platform.delete(_path(name), what="deleting API keys")


def _page(response: Any) -> list[APIKey]:
    return [APIKey.from_response(found) for found in records(record(response)["result"])]


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _permissions(asked: Sequence[str]) -> list[str]:
    """Spell permissions out."""
    everything = list(get_args(TablePermission))
    if asked in ("r", "rw"):
        return everything[:1] if asked == "r" else everything
    if isinstance(asked, str) or not set(asked) <= set(everything):
        raise ValueError(f'permissions are "r", "rw", or some of {everything}, not {asked!r}')
    return list(asked)


def _database(
    permissions: Mapping[str, Sequence[str]], schema: str, create_tables: bool, list_tables: bool
) -> dict[str, Any]:
    """Write the section of the grants that is about the database."""
    section: dict[str, Any] = {"type": "database"}
    if permissions:
        section["tables"] = []
    for table, granted in permissions.items():
        place, _, name = table.rpartition(".")
        section["tables"].append({"schema": place or schema, "name": name, "permissions": list(granted)})
    if create_tables:
        section["schemas"] = [{"name": schema, "permissions": ["create"]}]
    if list_tables:
        section["table_metadata"] = []
    return section
