"""Log in to PostgreSQL as a role, and wait out its crash recovery."""

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

# The crash of one PostgreSQL process ends all sessions; recovery takes some tenths of a second.
RECOVERY_TIMEOUT_S = 10.0
RECOVERY_PAUSE_S = 0.05
# Messages of libpq, which has no error code here. The second one occurs if the crash happens during the login.
_RECOVERING = ("the database system is ", "server closed the connection unexpectedly")


def is_recovering(message: str) -> bool:
    """Return whether a connection failed because PostgreSQL is starting or recovering from a crash."""
    return any(text in message for text in _RECOVERING)


def connect(conninfo: str, *, autocommit: bool = False) -> Connection:
    """Open a connection that returns rows as dictionaries; retry while PostgreSQL recovers from a crash.

    Raises
    ------
    psycopg.OperationalError
        If PostgreSQL cannot be reached or rejects the login.
    """
    deadline = time.monotonic() + RECOVERY_TIMEOUT_S
    while True:
        try:
            return psycopg.connect(conninfo, autocommit=autocommit, row_factory=dict_row)
        except psycopg.OperationalError as error:
            if not is_recovering(str(error)) or time.monotonic() > deadline:
                raise
        time.sleep(RECOVERY_PAUSE_S)


@dataclass(frozen=True, slots=True)
class Login:
    """Login method for the roles of the account.

    ``direct`` sessions log in as the role itself, with a password if ``secret`` is set, and have no other rights.
    If the server of the DSN does not accept such logins, sessions log in as the DSN's user and set the role; there
    the SQL command ``SET ROLE NONE`` obtains the rights of the DSN's user.
    """

    dsn: str
    direct: bool = True
    secret: str | None = field(default=None, repr=False)

    def conninfo(self, role: str) -> str:
        """Return the libpq connection string of a role."""
        if self.direct:
            return make_conninfo(self.dsn, user=role, password=self.password(role))
        options = str(conninfo_to_dict(self.dsn).get("options") or "")
        return make_conninfo(self.dsn, options=f"{options} -c role={role}".strip())

    def password(self, role: str) -> str | None:
        """Return the password of a role, derived from the DSN's password; None if none is used."""
        if self.secret is None:
            return None
        return hmac.new(self.secret.encode(), role.encode(), hashlib.sha256).hexdigest()


def find_login(connection: Connection, dsn: str, roles: Sequence[str]) -> Login:
    """Find a login method that the server of a DSN accepts, and set the passwords of the roles for it.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection of a user who can alter the roles.
    dsn : str
        Connection string that it was opened with.
    roles : sequence of str
        Existing roles. The login is tried with the first one.
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
    """Set the password that a role logs in with, if the login method uses one."""
    password = login.password(role)
    if password is not None:
        # Hashed on the client, so that the password cannot appear in the server's log.
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
        )
