"""Embedded CARTO server, for tests and for work without a CARTO account.

It serves CARTO's APIs from a real PostgreSQL with PostGIS and listens on loopback only::

    with cartoframes_lite.local.start() as carto:
        cartoframes_lite.to_carto(frame, "places", carto.credentials)
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cartoframes_lite.local.errors import LocalServerError
from cartoframes_lite.local.plan import Plan

if TYPE_CHECKING:
    from cartoframes_lite.credentials import Credentials
    from cartoframes_lite.local.postgres.cluster import Cluster
    from cartoframes_lite.local.server import Server
    from cartoframes_lite.local.state import State

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

    def __init__(self, cluster: Cluster, state: State, server: Server) -> None:
        self._cluster = cluster
        self._state = state
        self._server = server
        self._stopped = False
        self.base_url = f"{server.url}/user/{state.user}"
        self.dsn = cluster.dsn

    def __repr__(self) -> str:
        return f"<LocalCarto {self.base_url}{' (stopped)' if self._stopped else ''}>"

    def _repr_html_(self) -> str:
        link = f'<a href="{self.base_url}" target="_blank" rel="noopener">{self.base_url}</a>'
        return f"Embedded CARTO server {'(stopped) ' if self._stopped else ''}{link}"

    @property
    def credentials(self) -> Credentials:
        """Credentials of the account's owner."""
        from cartoframes_lite.credentials import Credentials

        return Credentials(self._state.user, self._state.master_key.token, base_url=self.base_url)

    def reset(self) -> None:
        """Empty the account.

        Terminates running queries and drops all tables, types, functions and schemas, all API keys except the
        master key, and all jobs, imports and synchronizations. Meant to be called before each test.
        """
        self._state.reset()

    def advance_clock(self, seconds: float) -> None:
        """Move the server's clock forward. Synchronizations that become due run immediately.

        Parameters
        ----------
        seconds : float
            Must not be negative. `reset` sets the clock back to the system time.
        """
        self._state.clock.advance(seconds)

    def stop(self) -> None:
        """Stop the server and its private PostgreSQL, and remove a temporary data directory.

        Calling it again has no effect.
        """
        if self._stopped:
            return
        self._stopped = True
        try:
            self._server.stop()
            self._state.close()
        finally:
            self._cluster.stop()

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
) -> LocalCarto:
    """Start an embedded CARTO server.

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
    _check_arguments(dsn, user, api_key, data_dir, rate_limit, statement_timeout_s, abandoned_upload_s)
    try:
        from cartoframes_lite.local.app import create_app
        from cartoframes_lite.local.connections import ConnectionLimits
        from cartoframes_lite.local.postgres.cluster import open_cluster
        from cartoframes_lite.local.server import Server
        from cartoframes_lite.local.state import State
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "cartoframes_lite":
            raise
        raise ImportError(
            f'the embedded server needs {missing}: pip install "cartoframes_lite[local]"', name=missing
        ) from error
    cluster = open_cluster(dsn, None if data_dir is None else Path(data_dir))
    try:
        state = State(
            cluster,
            user,
            api_key=api_key,
            rate_limit=rate_limit,
            statement_timeout_s=statement_timeout_s,
            abandoned_upload_s=abandoned_upload_s,
            plan=plan,
        )
        try:
            limits = ConnectionLimits(state.plan.connections, state.plan.head_timeout_s, state.plan.idle_timeout_s)
            server = Server(create_app(state), port, limits)
        except BaseException:
            state.close()
            raise
    except BaseException:  # including KeyboardInterrupt: PostgreSQL must not keep running
        cluster.stop()
        raise
    return LocalCarto(cluster, state, server)


def _check_arguments(
    dsn: str | None,
    user: str,
    api_key: str | None,
    data_dir: str | os.PathLike[str] | None,
    rate_limit: tuple[float, int] | None,
    statement_timeout_s: float | None,
    abandoned_upload_s: float,
) -> None:
    """Raise ValueError for invalid arguments, before anything is started."""
    if dsn is not None and data_dir is not None:
        raise ValueError("dsn and data_dir are mutually exclusive: data_dir belongs to a private PostgreSQL")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", user):
        raise ValueError(
            f"invalid user {user!r}: user is part of URLs and must consist of letters, digits, '-', '_' and '.'"
        )
    if api_key is not None and (not api_key or api_key == "default_public"):
        raise ValueError(f"invalid api_key {api_key!r}: the master key must not be empty or default_public")
    if rate_limit is not None and (rate_limit[0] <= 0 or rate_limit[1] < 0):
        raise ValueError(f"rate_limit must be (requests per second > 0, burst >= 0), not {rate_limit}")
    if statement_timeout_s is not None and statement_timeout_s <= 0:
        raise ValueError(f"statement_timeout_s must be positive, not {statement_timeout_s}")
    if abandoned_upload_s < 0:
        raise ValueError(f"abandoned_upload_s must not be negative, not {abandoned_upload_s}")
