"""The embedded server in this process: the database of an account, its state, and the HTTP server."""

from __future__ import annotations

import importlib
import threading
from contextlib import suppress
from pathlib import Path

from cartoframes_lite.local.options import ServerOptions


class EmbeddedServer:
    """A server in this process, with a PostgreSQL of its own unless a DSN is given.

    Parameters
    ----------
    options : ServerOptions

    Attributes
    ----------
    url : str
        Root URL, without a trailing slash.
    dsn : str
        libpq connection string of a superuser of the account's database.
    state : State
        The account.

    Raises
    ------
    ImportError
        If the extra ``local`` is not installed.
    LocalServerError
        If the database or the port cannot be used.
    """

    def __init__(self, options: ServerOptions) -> None:
        try:
            from cartoframes_lite.local.postgres.cluster import open_cluster

            # PostgreSQL starts in the meantime.
            importing = threading.Thread(target=_import_application, daemon=True)
            importing.start()
        except ModuleNotFoundError as error:
            raise _missing_extra(error) from error
        self._cluster = open_cluster(options.dsn, None if options.data_dir is None else Path(options.data_dir))
        try:
            importing.join()
            self._serve(options)
        except BaseException:  # including KeyboardInterrupt: PostgreSQL must not keep running
            self._cluster.stop()
            raise
        self.dsn = self._cluster.dsn
        self.url = self._server.url

    def _serve(self, options: ServerOptions) -> None:
        """Prepare the database and start the HTTP server."""
        try:
            from cartoframes_lite.local.app import create_app
            from cartoframes_lite.local.connections import ConnectionLimits
            from cartoframes_lite.local.server import Server
            from cartoframes_lite.local.state import State
        except ModuleNotFoundError as error:
            raise _missing_extra(error) from error
        plan = options.plan
        self.state = State(
            self._cluster,
            options.user,
            api_key=options.api_key,
            rate_limit=options.rate_limit,
            statement_timeout_s=options.statement_timeout_s,
            abandoned_upload_s=options.abandoned_upload_s,
            plan=plan,
        )
        try:
            limits = ConnectionLimits(plan.connections, plan.head_timeout_s, plan.idle_timeout_s)
            self._server = Server(create_app(self.state), options.port, limits)
        except BaseException:
            self.state.close()
            raise

    def master_key(self) -> str:
        """Return the master key as it is now."""
        return self.state.master_key.token

    def reset(self) -> None:
        """Empty the account."""
        self.state.reset()

    def advance_clock(self, seconds: float) -> None:
        """Move the clock forward; raise ValueError if seconds is negative."""
        self.state.clock.advance(seconds)

    def stop(self) -> None:
        """Stop the server and its private PostgreSQL; calling it again completes an interrupted stop."""
        try:
            self._server.stop()
            self.state.close()
        finally:
            self._cluster.stop()


def _import_application() -> None:
    """Import the application; an error is raised where it is imported again."""
    with suppress(ImportError):
        importlib.import_module("cartoframes_lite.local.app")


def _missing_extra(error: ModuleNotFoundError) -> ImportError:
    """Return the error for a package that is not installed; a module of this one is never missing for that reason."""
    missing = (error.name or "").partition(".")[0]
    if missing == "cartoframes_lite":
        return error
    return ImportError(f'the embedded server needs {missing}: pip install "cartoframes_lite[local]"', name=missing)
