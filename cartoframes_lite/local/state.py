"""The account behind the server: its api keys and their database roles, its limits, and how to empty it.

Everything here is kept in the schema ``cartodb_local`` of the account's database, so that it survives a
restart on the same data directory or DSN.
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
ALL_APIS: list[dict[str, Any]] = [{"type": "apis", "apis": ["sql", "maps"]}]


class KeyExistsError(ValueError):
    """The account has a key of this name."""


@dataclass(frozen=True, slots=True)
class Key:
    """An api key.

    Attributes
    ----------
    name : str
        Unique in the account; ``Master`` and ``Default public`` are reserved.
    token : str
        What a client sends. Not part of the repr.
    kind : {"master", "default", "regular"}
        ``default`` is the key of requests without a key.
    role : str
        Database role that requests with this key run as.
    apis : frozenset of str
        Which of ``sql`` and ``maps`` the key opens.
    grants : sequence of dict
        As in the API: sections of type ``apis``, ``database``, ``dataservices``.
    created_at, updated_at : datetime
        With time zone.
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

    Safe to use from several threads. The database is prepared when the object is made.

    Parameters
    ----------
    cluster : Cluster
        Gives the superuser connection to the account's database.
    user : str
        Name of the account in URLs.
    api_key : str, optional
        Master key. None keeps the one that the database remembers, or draws a random one.
    rate_limit : tuple of (float, int), optional
        Requests per second and burst, for each kind of endpoint. None means unlimited.
    statement_timeout_s : float, optional
        Longest time of a statement over the SQL API, in seconds. None means unlimited.
    abandoned_upload_s : float
        How long the COPY of an upload whose client went away at once stays open, in seconds.
    plan : Plan, optional
        Limits of the account.

    Attributes
    ----------
    clock : Clock
    owner_role : str
        Role of the account's owner, and of the master key.
    user_id : str
        A UUID, derived from that: the same at each start, and different in each account.
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
            self._keep_built_in_keys(api_key)
        except BaseException:  # also KeyboardInterrupt: nobody else could close it
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the administrative connection."""
        with self._lock:
            self._connection.close()

    # Keys

    @property
    def master_key(self) -> Key:
        """The key that may do everything."""
        return next(key for key in self.keys() if key.kind == "master")

    def key(self, token: str | None) -> Key | None:
        """Return the key of a token.

        Parameters
        ----------
        token : str or None
            None and ``""`` stand for ``default_public``.

        Returns
        -------
        Key or None
            None if the account has no such key. Answered from memory.
        """
        return self._by_token.get(token or DEFAULT_PUBLIC)

    def keys(self) -> list[Key]:
        """Return all keys: master, default, then the created ones in the order of their creation."""
        kinds = ("master", "default", "regular")
        return sorted(self._by_token.values(), key=lambda key: (kinds.index(key.kind), key.created_at))

    def create_key(self, name: str, grants: Sequence[Mapping[str, Any]]) -> Key:
        """Create a regular key and its role, and grant the role what the key may do.

        Parameters
        ----------
        name : str
            Name of the key, unique in the account.
        grants : sequence of dict
            As in the API, checked by the caller.

        Raises
        ------
        KeyExistsError
            If the name is taken.
        psycopg.Error, grants.NotGrantedError
            If a table or schema of the grants does not exist or is not the account's; nothing is created then.
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

    def delete_key(self, name: str) -> None:
        """Delete a regular key; its role and the role's rights go too, the tables it made stay.

        Raises
        ------
        LookupError
            If there is no regular key of this name.
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
        """Give a key another token; the old one is unknown from now on.

        Raises
        ------
        LookupError
            If there is no key of this name, or it is the default key, whose token is fixed.
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
    def directory(self) -> Path:
        """Directory for files on their way in or out; gone when the server is."""
        return self._cluster.directory

    def conninfo(self, role: str) -> str:
        """Return the libpq connection string whose sessions are those of a role."""
        return self._login.conninfo(role)

    @contextmanager
    def admin(self) -> Iterator[Connection]:
        """Lend the connection with all rights: in autocommit mode, rows as dictionaries, one user at a time.

        Its search path is ``pg_catalog``: what users put into ``public`` must not be found by a superuser's
        statements.
        """
        with self._lock:
            if self._connection.closed or _is_lost(self._connection):
                self._connection.close()
                self._connection = self._connect()
            yield self._connection

    def reset(self) -> None:
        """Empty the account.

        Ends what is running, and drops all tables, types, functions and schemas of the database, all
        created keys, members, jobs, imports and synchronizations. The master key and the quota stay, and the clock
        goes back to the time of the machine.
        """
        for forget in self.on_reset:
            forget()
        self.clock.reset()
        with self.admin() as connection:
            with connection.transaction():
                created = roles.created_roles(connection, self.owner_role)
                connection.execute("SELECT cartodb_local.forget()")
                rights = roles.empty(connection, self.owner_role, created, expected=self._rights)
            self._rights = rights  # of what is committed
            self._load()

    def _connect(self) -> Connection:
        """Open a connection with all rights."""
        connection = connect(self._dsn, autocommit=True)
        connection.execute("SET search_path = pg_catalog, pg_temp")
        return connection

    def _named(self, name: str) -> Key:
        """Return the key of a name."""
        for key in self._by_token.values():
            if key.name == name:
                return key
        raise LookupError(name)

    def _keep_built_in_keys(self, api_key: str | None) -> None:
        """Store the master and the default key, then read all."""
        store = (
            "INSERT INTO cartodb_local.api_keys AS old (name, token, kind, role, grants)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE"
            " SET role = excluded.role, token = CASE WHEN %s THEN excluded.token ELSE old.token END"
        )
        token = api_key or secrets.token_urlsafe(16)
        for name, value, kind, role, replace in (
            (MASTER_NAME, token, "master", self.owner_role, api_key is not None),
            (DEFAULT_NAME, DEFAULT_PUBLIC, "default", roles.PUBLIC_ROLE, True),
        ):
            self._connection.execute(store, (name, value, kind, role, Jsonb(ALL_APIS), replace))
        self._load()

    def _load(self) -> None:
        """Read the keys into memory."""
        rows = self._connection.execute("SELECT * FROM cartodb_local.api_keys").fetchall()
        keys = [Key(apis=frozenset(key_grants.granted_apis(row["grants"])), **row) for row in rows]
        self._by_token = {key.token: key for key in keys}


def _is_lost(connection: Connection) -> bool:
    """Say whether an idle connection was closed by PostgreSQL: it would have sent word of it."""
    return bool(select.select([connection], [], [], 0)[0])
