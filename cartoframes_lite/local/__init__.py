"""Embedded CARTO server, for tests and for work without a CARTO account.

It serves CARTO's APIs from a real PostgreSQL with PostGIS and listens on loopback only::

    with cartoframes_lite.local.start() as carto:
        cartoframes_lite.to_carto(frame, "places", carto.credentials)
"""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from cartoframes_lite.local.errors import LocalServerError
from cartoframes_lite.local.options import ServerOptions
from cartoframes_lite.local.plan import Plan

if TYPE_CHECKING:
    from cartoframes_lite.credentials import Credentials
    from cartoframes_lite.local.embedded import EmbeddedServer
    from cartoframes_lite.local.process import ServerProcess

__all__ = ["LocalCarto", "LocalServerError", "Plan", "start"]


def __dir__() -> list[str]:
    """List the public names."""
    return __all__


class LocalCarto:
    """A running embedded server, returned by `start`. As a context manager, it stops the server on exit.

    Attributes
    ----------
    base_url : str
        ``http://127.0.0.1:PORT/user/USER``, without a trailing slash. In a browser, the home page of the account.
    dsn : str
        libpq connection string of a superuser of the account's database, to inspect what the SQL API does not
        show. Tables created through it belong to that user; the account can read and write them.
    credentials : Credentials
        Credentials of the account's owner, with the master key.
    """

    def __init__(self, server: EmbeddedServer | ServerProcess, user: str) -> None:
        self._server = server
        self._user = user
        self._starter = os.getpid()
        self._stopped = False
        self.base_url = f"{server.url}/user/{user}"
        self.dsn = server.dsn
        self._master_key = server.master_key()

    def __repr__(self) -> str:
        return f"<LocalCarto {self.base_url}{' (stopped)' if self._stopped else ''}>"

    def _repr_html_(self) -> str:
        link = f'<a href="{self.base_url}" target="_blank" rel="noopener">{self.base_url}</a>'
        return f"Embedded CARTO server {'(stopped) ' if self._stopped else ''}{link}"

    @property
    def credentials(self) -> Credentials:
        """Credentials of the account's owner."""
        from cartoframes_lite.credentials import Credentials

        if not self._stopped and os.getpid() == self._starter:
            self._master_key = self._server.master_key()  # it can be regenerated
        return Credentials(self._user, self._master_key, base_url=self.base_url)

    def reset(self) -> None:
        """Empty the account.

        Terminates running queries and drops all tables, types, functions and schemas, all API keys except the
        master key, and all jobs, imports and synchronizations. Meant to be called before each test.

        Raises
        ------
        LocalServerError
            If the server is stopped or its process has ended, or in a fork of the process that started it.
        """
        self._running().reset()

    def advance_clock(self, seconds: float) -> None:
        """Move the server's clock forward. Synchronizations that become due run immediately.

        Parameters
        ----------
        seconds : float
            Must not be negative. `reset` sets the clock back to the system time.

        Raises
        ------
        LocalServerError
            As in `reset`.
        """
        self._running().advance_clock(seconds)

    def stop(self) -> None:
        """Stop the server and its private PostgreSQL, and remove a temporary data directory.

        Calling it again has no effect, nor has calling it in a fork of the process that started the server.
        """
        if os.getpid() == self._starter:
            self._stopped = True
            self._server.stop()

    def _running(self) -> EmbeddedServer | ServerProcess:
        """Return the server; raise LocalServerError if it cannot be called."""
        if self._stopped:
            raise LocalServerError("the embedded server is stopped; start another")
        if os.getpid() != self._starter:
            raise LocalServerError(
                f"process {os.getpid()} is a fork: only process {self._starter}, which started the embedded server,"
                " can control it; requests can be sent by both"
            )
        return self._server

    def __enter__(self) -> LocalCarto:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def start(
    *,
    dsn: str | None = None,
    user: str = "local",
    api_key: str | None = None,
    port: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    rate_limit: tuple[float, int] | None = None,
    statement_timeout_s: float | None = None,
    abandoned_upload_s: float = 5.0,
    plan: Plan | None = None,
    in_process: bool = False,
) -> LocalCarto:
    """Start an embedded CARTO server.

    It runs in a process of its own, which ends with this one.

    Parameters
    ----------
    dsn : str, optional
        libpq connection string of an existing database. Its user must be allowed to create roles and, if the
        database does not have PostGIS, extensions. The schemas ``cartodb`` and ``cartodb_local`` and the roles
        of the API keys are created there. None starts a private PostgreSQL.
    user : str
        Name of the account.
    api_key : str, optional
        Master key. None keeps the key stored in the database by an earlier start, or generates a random one.
    port : int
        TCP port on 127.0.0.1. 0 selects a free port.
    data_dir : path, optional
        Data directory of the private PostgreSQL, created if missing. Starting with it again restores the account.
        None uses a temporary directory, which is removed on stop. Mutually exclusive with ``dsn``.
    rate_limit : tuple of (float, int), optional
        Requests per second and burst allowed for each kind of endpoint. None means unlimited.
    statement_timeout_s : float, optional
        Timeout of all statements of an SQL API request together, in seconds; COPY and batch jobs are exempt. None means
        unlimited.
    abandoned_upload_s : float
        How long the COPY of an upload keeps its lock on the table if the client disconnected before the COPY
        started, in seconds. CARTO keeps it for five hours.
    plan : Plan, optional
        Limits of the account, mainly of imports. None means the limits of CARTO's largest plan.
    in_process : bool
        Whether to run the server in threads of this process, for debugging or where Python cannot be started. It is
        slower then, because both share the interpreter lock.

    Returns
    -------
    LocalCarto
        The running server.

    Raises
    ------
    ImportError
        If the extra ``local`` is not installed.
    LocalServerError
        If PostgreSQL or PostGIS is not installed, the database or the port cannot be used, or the data
        directory is in use.
    ValueError
        If an argument is invalid.

    Examples
    --------
    >>> with start(user="tester") as carto:
    ...     carto.base_url
    'http://127.0.0.1:.../user/tester'
    """
    options = ServerOptions(
        dsn=dsn,
        user=user,
        api_key=api_key,
        port=port,
        data_dir=None if data_dir is None else os.fspath(data_dir),
        rate_limit=rate_limit,
        statement_timeout_s=statement_timeout_s,
        abandoned_upload_s=abandoned_upload_s,
        plan=plan or Plan(),
    )
    # In a program that contains its interpreter, sys.executable is empty or the program itself.
    if in_process or not sys.executable or getattr(sys, "frozen", False):
        from cartoframes_lite.local.embedded import EmbeddedServer

        return LocalCarto(EmbeddedServer(options), user)
    from cartoframes_lite.local.process import ServerProcess

    return LocalCarto(ServerProcess(options), user)
