"""The account of the server: its API keys with their database roles, its limits, and its reset.

Everything is stored in the schema ``cartodb_local`` of the account's database, and survives a restart with the
same data directory or DSN.
"""

from __future__ import annotations

import secrets
import select
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from cartoframes_lite.local.clock import Clock
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.postgres import grants as key_grants
from cartoframes_lite.local.postgres import roles
from cartoframes_lite.local.postgres.logins import Connection, connect

if TYPE_CHECKING:
    from cartoframes_lite.local.postgres.cluster import Cluster

_NAMESPACE = uuid.UUID("4b1d6a52-8f0e-5b8b-9d9b-5c3f0a7be6d1")
DEFAULT_PUBLIC = "default_public"
MASTER_NAME = "Master"
DEFAULT_NAME = "Default public"
_ALL_APIS = {"type": "apis", "apis": ["sql", "maps"]}
_ALL_SERVICES = {"type": "dataservices", "services": ["geocoding", "routing", "isolines", "observatory"]}
_ALL_USER_DATA = {"type": "user", "data": ["profile"]}


class KeyExistsError(ValueError):
    """The account already has a key with this name."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key.

    Attributes
    ----------
    name : str
        Unique in the account; ``Master`` and ``Default public`` are reserved.
    token : str
        Value that clients send. Not part of the repr.
    kind : {"master", "default", "regular"}
        ``default`` is the key of requests without a key.
    role : str
        Database role that requests with this key run as.
    apis : frozenset of str
        APIs that the key gives access to: ``sql``, ``maps``.
    grants : sequence of dict
        Sections of type ``apis``, ``database`` and ``dataservices``, as in the API.
    created_at, updated_at : datetime
        Timezone-aware.
    """

    name: str
    token: str = field(repr=False)
    kind: Literal["master", "default", "regular"]
    role: str
    apis: frozenset[str]
    grants: Sequence[Mapping[str, Any]] = field(hash=False)
    created_at: datetime
    updated_at: datetime


class State:
    """The account: keys, roles, limits.

    Thread-safe. The constructor prepares the database.

    Parameters
    ----------
    cluster : Cluster
        Provides the superuser DSN of the account's database.
    user : str
        Name of the account in URLs.
    api_key : str, optional
        Master key. None keeps the key stored in the database, or generates a random one.
    rate_limit : tuple of (float, int), optional
        Requests per second and burst, for each kind of endpoint. None means unlimited.
    statement_timeout_s : float, optional
        Timeout of a statement in the SQL API, in seconds. None means unlimited.
    abandoned_upload_s : float
        How long the COPY of an upload stays open if its client disconnected before the COPY started, in seconds.
    plan : Plan, optional
        Limits of the account. None means the limits of CARTO's largest plan.

    Attributes
    ----------
    clock : Clock
    owner_role : str
        Role of the account's owner, and of the master key.
    user_id : str
        UUID derived from ``owner_role``: stable across restarts, different for each account.
    on_reset : list of callable
        Called by `reset` before the database is emptied.
    """

    def __init__(
        self,
        cluster: Cluster,
        user: str,
        *,
        api_key: str | None = None,
        rate_limit: tuple[float, int] | None = None,
        statement_timeout_s: float | None = None,
        abandoned_upload_s: float = 5.0,
        plan: Plan | None = None,
    ) -> None:
        self.user = user
        self.plan = plan or Plan()
        self.clock = Clock()
        self._cluster = cluster
        self.rate_limit = rate_limit
        self.statement_timeout_s = statement_timeout_s
        self.abandoned_upload_s = abandoned_upload_s
        self.on_reset: list[Callable[[], None]] = []
        self._lock = threading.RLock()
        self._dsn = cluster.dsn
        self._by_token: dict[str, Key] = {}
        self._rights: str | None = None
        self._connection = self._connect()
        try:
            account = roles.prepare(self._connection, self._dsn, user, private=cluster.private)
            self.owner_role = account.owner_role
            self.user_id = str(uuid.uuid5(_NAMESPACE, account.owner_role))
            self._login = account.login
            self._store_built_in_keys(api_key)
        except BaseException:  # including KeyboardInterrupt: nothing else refers to the connection yet
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the administrative connection."""
        with self._lock:
            self._connection.close()

    # Keys

    @property
    def master_key(self) -> Key:
        """The key with all rights of the account's owner."""
        return next(key for key in self.keys() if key.kind == "master")

    def key(self, token: str | None) -> Key | None:
        """Return the key of a token.

        Parameters
        ----------
        token : str or None
            None and ``""`` mean ``default_public``.

        Returns
        -------
        Key or None
            None if the account has no such key. Looked up in memory, without a query.
        """
        return self._by_token.get(token or DEFAULT_PUBLIC)

    def keys(self) -> list[Key]:
        """Return all keys: master, default, then regular keys in order of creation."""
        kinds = ("master", "default", "regular")
        return sorted(self._by_token.values(), key=lambda key: (kinds.index(key.kind), key.created_at))

    def create_key(self, name: str, grants: Sequence[Mapping[str, Any]]) -> Key:
        """Create a regular key and its role, and grant the key's permissions to the role.

        Parameters
        ----------
        name : str
            Name of the key, unique in the account.
        grants : sequence of dict
            Grants in the format of the API, validated by the caller.

        Raises
        ------
        KeyExistsError
            If the account has a key with this name.
        grants.NotGrantedError
            If a table or schema in the grants does not exist or does not belong to the account. Nothing is created.
        """
        with self.admin() as connection:
            if any(key.name == name for key in self._by_token.values()):
                raise KeyExistsError(name)
            role = f"{self.owner_role}_key_{secrets.token_hex(6)}"
            with connection.transaction():
                roles.create_key_role(connection, self.owner_role, role, self._login)
                key_grants.grant(connection, self.owner_role, role, grants)
                connection.execute(
                    "INSERT INTO cartodb_local.api_keys (name, token, kind, role, grants)"
                    " VALUES (%s, %s, 'regular', %s, %s)",
                    (name, secrets.token_urlsafe(16), role, Jsonb(list(grants))),
                )
            self._load()
            return self._named(name)

    def granted(self, keys: Sequence[Key]) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Return the ``tables`` and ``schemas`` that regular keys have privileges on now, by name of the key."""
        regular = [key.role for key in keys if key.kind == "regular"]
        with self.admin() as connection:
            tables = key_grants.granted_tables(connection, regular)
            schemas = key_grants.granted_schemas(connection, regular)
        return {key.name: {"tables": tables.get(key.role, []), "schemas": schemas.get(key.role, [])} for key in keys}

    def delete_key(self, name: str) -> None:
        """Delete a regular key and drop its role. Tables created with the key are kept.

        Raises
        ------
        LookupError
            If there is no regular key with this name.
        """
        with self.admin() as connection:
            key = self._named(name)
            if key.kind != "regular":
                raise LookupError(name)
            with connection.transaction():
                connection.execute("DELETE FROM cartodb_local.api_keys WHERE name = %s", (name,))
                roles.drop_key_role(connection, self.owner_role, key.role)
            self._load()

    def regenerate_key(self, name: str) -> Key:
        """Generate a new token for a key. The old token becomes invalid.

        Raises
        ------
        LookupError
            If there is no key with this name, or it is the default key, whose token is fixed.
        """
        with self.admin() as connection:
            if self._named(name).kind == "default":
                raise LookupError(name)
            connection.execute(
                "UPDATE cartodb_local.api_keys SET token = %s, updated_at = now() WHERE name = %s",
                (secrets.token_urlsafe(16), name),
            )
            self._load()
            return self._named(name)

    # Database and files

    @property
    def database(self) -> str:
        """Name of the account's database."""
        return str(conninfo_to_dict(self._dsn)["dbname"])

    @property
    def directory(self) -> Path:
        """Directory for files of imports and exports; removed when the server stops."""
        return self._cluster.directory

    def conninfo(self, role: str) -> str:
        """Return the libpq connection string that opens sessions of a role."""
        return self._login.conninfo(role)

    @contextmanager
    def admin(self) -> Iterator[Connection]:
        """Return a context manager for the superuser connection: autocommit, rows as dictionaries, locked meanwhile.

        Its search path is ``pg_catalog``, so that a superuser's statements never resolve to objects that users
        created in ``public``.
        """
        with self._lock:
            if self._connection.closed or _is_lost(self._connection):
                self._connection.close()
                self._connection = self._connect()
            yield self._connection

    def reset(self) -> None:
        """Empty the account.

        Terminates running queries and drops all tables, types, functions and schemas of the database, all regular
        keys, members, jobs, imports and synchronizations. Keeps the master key and the quota, and sets the clock
        back to the system time.
        """
        for callback in self.on_reset:
            callback()
        self.clock.reset()
        with self.admin() as connection:
            with connection.transaction():
                created = roles.created_roles(connection, self.owner_role)
                connection.execute("SELECT cartodb_local.delete_state()")
                rights = roles.empty(connection, self.owner_role, created, expected=self._rights)
            self._rights = rights  # only after the commit
            self._load()

    def _connect(self) -> Connection:
        """Open a superuser connection."""
        connection = connect(self._dsn, autocommit=True)
        connection.execute("SET search_path = pg_catalog, pg_temp")
        return connection

    def _named(self, name: str) -> Key:
        """Return the key with a name; raise LookupError if there is none."""
        for key in self._by_token.values():
            if key.name == name:
                return key
        raise LookupError(name)

    def _store_built_in_keys(self, api_key: str | None) -> None:
        """Store the master and the default key, then load all keys."""
        upsert = (
            "INSERT INTO cartodb_local.api_keys AS old (name, token, kind, role, grants)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE"
            " SET role = excluded.role, grants = excluded.grants,"
            " token = CASE WHEN %s THEN excluded.token ELSE old.token END"
        )
        token = api_key or secrets.token_urlsafe(16)
        all_rights = [_ALL_APIS, _ALL_SERVICES, _ALL_USER_DATA]
        for name, value, kind, role, grants, replace in (
            (MASTER_NAME, token, "master", self.owner_role, all_rights, api_key is not None),
            (DEFAULT_NAME, DEFAULT_PUBLIC, "default", roles.PUBLIC_ROLE, [_ALL_APIS], True),
        ):
            self._connection.execute(upsert, (name, value, kind, role, Jsonb(grants), replace))
        self._load()

    def _load(self) -> None:
        """Load all keys into memory."""
        rows = self._connection.execute("SELECT * FROM cartodb_local.api_keys").fetchall()
        keys = [Key(apis=frozenset(key_grants.granted_apis(row["grants"])), **row) for row in rows]
        self._by_token = {key.token: key for key in keys}


def _is_lost(connection: Connection) -> bool:
    """Return whether PostgreSQL has closed an idle connection: its socket is readable then."""
    return bool(select.select([connection], [], [], 0)[0])
