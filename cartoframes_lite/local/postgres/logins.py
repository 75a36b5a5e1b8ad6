"""How sessions of a role are opened."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

Connection = psycopg.Connection[dict[str, Any]]

# A crash of one process of PostgreSQL ends all its sessions; it is back after some tenths of a second.
RECOVERY_TIMEOUT_S = 10.0
RECOVERY_PAUSE_S = 0.05
# As libpq words it: it gives no code. The second one is a session that had begun in the moment of the crash.
_RECOVERING = ("the database system is ", "server closed the connection unexpectedly")


def is_recovering(message: str) -> bool:
    """Tell whether a session was refused because PostgreSQL recovers from a crash, or starts."""
    return any(text in message for text in _RECOVERING)


def connect(conninfo: str, *, autocommit: bool = False) -> Connection:
    """Open a connection whose rows are dictionaries; while PostgreSQL recovers from a crash, wait for it.

    Raises
    ------
    psycopg.OperationalError
        If PostgreSQL cannot be reached or refuses.
    """
    give_up = time.monotonic() + RECOVERY_TIMEOUT_S
    while True:
        try:
            return psycopg.connect(conninfo, autocommit=autocommit, row_factory=dict_row)
        except psycopg.OperationalError as error:
            if not is_recovering(str(error)) or time.monotonic() > give_up:
                raise
        time.sleep(RECOVERY_PAUSE_S)


@dataclass(frozen=True, slots=True)
class Login:
    """How a session of a role is opened.

    ``direct`` sessions log in as the role, with a password if ``secret`` is set, and can never become more
    than it. Where the server of a given DSN lets nobody but its own user in, sessions log in as that user and
    start as the role; SQL that says ``SET ROLE NONE`` gets the rights of the DSN's user there.
    """

    dsn: str
    direct: bool = True
    secret: str | None = field(default=None, repr=False)

    def conninfo(self, role: str) -> str:
        """Return the connection string of a role."""
        if self.direct:
            return make_conninfo(self.dsn, user=role, password=self.password(role))
        options = str(conninfo_to_dict(self.dsn).get("options") or "")
        return make_conninfo(self.dsn, options=f"{options} -c role={role}".strip())

    def password(self, role: str) -> str | None:
        """Return the password of a role, the same in every process that knows the DSN's password."""
        if self.secret is None:
            return None
        return hmac.new(self.secret.encode(), role.encode(), hashlib.sha256).hexdigest()


def find_login(connection: Connection, dsn: str, roles: Sequence[str]) -> Login:
    """Find how roles can log in on the server of a given DSN, and give them what they need for it.

    Parameters
    ----------
    connection : psycopg.Connection
        May alter the roles.
    dsn : str
        Connection string that it was opened with.
    roles : sequence of str
        They exist; the first one is tried.
    """
    candidates = [Login(dsn)]
    if connection.info.password:
        candidates.append(Login(dsn, secret=connection.info.password))
    for login in candidates:
        for role in roles:
            set_password(connection, role, login)
        try:
            psycopg.connect(login.conninfo(roles[0]), connect_timeout=5).close()
        except psycopg.OperationalError:
            continue
        return login
    return Login(dsn, direct=False)


def set_password(connection: Connection, role: str, login: Login) -> None:
    """Give a role the password that its sessions log in with, if they need one."""
    password = login.password(role)
    if password is not None:
        # Encrypted here, so that the server's log cannot show it.
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
        )
