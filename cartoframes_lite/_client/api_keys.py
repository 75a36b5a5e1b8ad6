"""Auth API: create API keys with grants, list, regenerate and delete them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args
from urllib.parse import quote

from cartoframes_lite._client.http.json_fields import parse_datetime, record, records, required, texts
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.listing import Listing
from cartoframes_lite._client.platform import CREATED, Platform
from cartoframes_lite._client.sql import SQL
from cartoframes_lite._codec.html import html_table

PATH = "api/v3/api_keys"
_PAGE = 100

TablePermission = Literal["select", "insert", "update", "delete"]


@dataclass(frozen=True, slots=True)
class TableGrant:
    """Permissions of an API key for one table.

    Attributes
    ----------
    schema, name : str
    permissions : tuple of str
        Some of "select", "insert", "update", "delete".
    """

    schema: str
    name: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class APIKey:
    """An API key and its grants. The repr does not contain the token.

    Attributes
    ----------
    name : str
    token : str
        The secret, passed to ``Credentials`` as ``api_key``.
    kind : str
        "master", "default" or "regular".
    apis : tuple of str
        Some of "sql" and "maps".
    tables : tuple of TableGrant
    create_in : tuple of str
        Schemas in which the key can create tables.
    lists_tables : bool
        Whether the key can list the datasets of the account.
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

    def _columns(self) -> dict[str, object]:
        """Return what a notebook shows, by label; never the token."""
        return {
            "type": self.kind,
            "APIs": self.apis,
            "tables": [f"{grant.schema}.{grant.name} ({', '.join(grant.permissions)})" for grant in self.tables],
            "creates tables in": self.create_in,
            "lists datasets": "yes" if self.lists_tables else None,
            "created": self.created_at,
        }

    def _repr_html_(self) -> str:
        return html_table(f"API key {self.name}", self._columns())


class APIKeys:
    """``client.api_keys``.

    Parameters
    ----------
    transport : Transport
    sql : SQL
        Used to request the schema of the account.
    """

    def __init__(self, transport: Transport, sql: SQL) -> None:
        self._platform = Platform(transport)
        self._sql = sql

    def list(self) -> list[APIKey]:
        """List the API keys; without the master key, only the key in use."""
        keys: dict[str, APIKey] = {}
        page = 0
        while True:
            page += 1
            query = {"page": page, "per_page": _PAGE, "order": "name"}  # unique, so that pages do not overlap
            found = self._platform.json("GET", PATH, what="listing API keys", read=_page, query=query)
            keys |= {key.name: key for key in found}
            if len(found) < _PAGE:
                return Listing(keys.values(), "API keys", lambda key: {"name": key.name, **key._columns()})

    def get(self, name: str) -> APIKey:
        """Return an API key by name."""
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
        """Create an API key with restricted permissions.

        Parameters
        ----------
        name : str
            Unique in the account.
        tables : mapping of str to permissions, optional
            Permissions by ``"table"`` or ``"schema.table"``: "r", "rw", or a list of "select", "insert", "update" and
            "delete".
        create_tables : bool, default False
            Whether the key can create tables. ``to_carto`` requires this also to append to and replace tables, because
            it creates staging tables. Only the master key and the key that created a table can change its columns.
        list_tables : bool, default False
            Whether the key can list the datasets of the account.
        apis : sequence of {"sql", "maps"}
        services : sequence of str
            Data services: "geocoding", "routing", "isolines", "observatory".

        Raises
        ------
        ValueError
            If a permission is none of the above.
        APIError
            If the name is taken or a table does not exist.

        Examples
        --------
        >>> import cartoframes_lite as cfl
        >>> client = cfl.Client()
        >>> key = client.api_keys.create("nightly", tables={"stations": "rw"}, create_tables=True)
        >>> nightly = cfl.Credentials("ann", key.token)
        """
        permissions = {table: _permissions(requested) for table, requested in (tables or {}).items()}
        grants: list[dict[str, Any]] = [{"type": "apis", "apis": list(apis)}]
        if permissions or create_tables or list_tables:
            schema = self._sql.schema() if create_tables or any("." not in table for table in permissions) else ""
            grants.append(_database_grant(permissions, schema, create_tables, list_tables))
        if services:
            grants.append({"type": "dataservices", "services": list(services)})
        body = {"name": name, "grants": grants}
        what = "creating API keys"
        return self._platform.json("POST", PATH, what=what, read=APIKey.from_response, json_body=body, expect=CREATED)

    def regenerate(self, name: str) -> APIKey:
        """Replace the token of a key; the old token becomes invalid.

        After the master key is regenerated, credentials that contain the old token no longer work, including those of
        this client.
        """
        what = "regenerating API keys"
        return self._platform.json("POST", f"{_path(name)}/token/regenerate", what=what, read=APIKey.from_response)

    def delete(self, name: str) -> None:
        """Delete a key; tables created with it are kept."""
        self._platform.delete(_path(name), what="deleting API keys")


def _page(response: Any) -> list[APIKey]:
    return [APIKey.from_response(found) for found in records(record(response)["result"])]


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _permissions(requested: Sequence[str]) -> list[str]:
    """Expand "r" and "rw" to lists of permissions; raise ValueError for unknown ones."""
    known = list(get_args(TablePermission))
    if requested in ("r", "rw"):
        return ["select"] if requested == "r" else known
    if isinstance(requested, str) or not set(requested) <= set(known):
        raise ValueError(f'permissions must be "r", "rw", or a list of some of {known}, not {requested!r}')
    return list(requested)


def _database_grant(
    permissions: Mapping[str, Sequence[str]], schema: str, create_tables: bool, list_tables: bool
) -> dict[str, Any]:
    """Compose the grant of type "database"."""
    grant: dict[str, Any] = {"type": "database"}
    if permissions:
        grant["tables"] = []
    for table, granted in permissions.items():
        table_schema, _, name = table.rpartition(".")
        grant["tables"].append({"schema": table_schema or schema, "name": name, "permissions": list(granted)})
    if create_tables:
        grant["schemas"] = [{"name": schema, "permissions": ["create"]}]
    if list_tables:
        grant["table_metadata"] = []
    return grant
