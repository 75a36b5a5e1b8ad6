"""Session pool: connections that are reused by requests of the same role."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.logins import RECOVERY_PAUSE_S, RECOVERY_TIMEOUT_S, is_recovering
from cartoframes_lite.local.postgres.roles import PUBLIC_ROLE
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.postgres.time_limit import CANCEL_GRACE_S
from cartoframes_lite.local.sql.read_only import ReadOnlySession
from cartoframes_lite.local.state import State

# Formats of values in responses of the SQL API; a query can change them for itself.
# local_preload_libraries: a role can set it for itself, and with a missing library all its logins would fail.
SETTINGS = (
    "-c TimeZone=UTC -c DateStyle=ISO,MDY -c IntervalStyle=postgres -c extra_float_digits=1 -c local_preload_libraries="
)
IDLE_PER_ROLE = 4  # a new session takes some 5 ms, more with its first geometry, which loads PostGIS
# Sessions in use at the same time; further requests wait. One role cannot exhaust the connections of the server.
MAX_PER_ROLE = 60
_SLACK_S = 0.1  # PostgreSQL's own timeout is to expire first
_MAX_EXPORT_PROCESSES = 2
_EXPORT_TIMEOUT_S = 300.0
COPY_TIMEOUT_S = 5 * 3600.0
BATCH_TIMEOUT_S = 12 * 3600.0


class Sessions:
    """Session pool of all roles. Every request gets a session without state of earlier requests.

    Parameters
    ----------
    state : State
        Provides the login method and the statement timeout.
    read_only : bool
        Whether sessions of all roles are read-only. Those of requests without a key always are.

    Attributes
    ----------
    export_processes : asyncio.Semaphore
        Limits the number of exports that run in a separate process.
    max_export_bytes : int
        Maximum size of an export that is completed before it is sent, in bytes.
    export_timeout_s : float
        Timeout of the query of a GDAL export, and of its writing, in seconds.
    """

    def __init__(self, state: State, *, read_only: bool = False) -> None:
        self._state = state
        self._read_only = read_only
        self._idle: dict[str, deque[Session]] = defaultdict(deque)
        self._in_use: set[Session] = set()
        self._slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MAX_PER_ROLE))
        self._types: dict[int, str] | None = None
        self.export_processes = asyncio.Semaphore(_MAX_EXPORT_PROCESSES)
        self.max_export_bytes = state.plan.file_bytes
        self.export_timeout_s = min(_EXPORT_TIMEOUT_S, state.statement_timeout_s or _EXPORT_TIMEOUT_S)
        self._termination_tasks: set[asyncio.Task[None]] = set()
        state.on_reset.append(self.close_idle)

    @asynccontextmanager
    async def open(self, role: str, *, timeout_s: float | None = None, limited: bool = True) -> AsyncIterator[Session]:
        """Return a context manager for a session of a role.

        Parameters
        ----------
        role : str
            Database role of an API key.
        timeout_s : float, optional
            Statement timeout in seconds. None means that of the account.
        limited : bool
            Whether the timeout also applies to all statements of a query string together, and the size of rows is
            limited.

        Raises
        ------
        SQLError
            If PostgreSQL cannot be reached.
        """
        slot = self._slots[role]
        await slot.acquire()
        session = None
        try:
            session = await self._take(role) or await self._connect(role)
            self._in_use.add(session)
            limit_s = timeout_s or self._state.statement_timeout_s
            session.time_limit_s = limit_s + _SLACK_S if limited and limit_s else None
            session.on_overrun = self._terminate_session
            session.max_row_bytes = self._state.plan.row_bytes if limited else None
            async with self._cleaning(session, role):
                if timeout_s is not None:
                    # ReadOnlySession.execute would run it in a transaction, and roll the setting back.
                    await Session.execute(session, f"SET statement_timeout = {_milliseconds(timeout_s)}")
                yield session
        finally:
            self._release(session, slot)

    @asynccontextmanager
    async def _cleaning(self, session: Session, role: str) -> AsyncIterator[None]:
        """Return a context manager that keeps a session for the next request, if it can be cleaned."""
        healthy = False
        try:
            yield
            healthy = await session.begin_cleaning()
        except SQLError:
            healthy = await session.begin_cleaning()
            raise
        finally:
            if healthy and len(self._idle[role]) < IDLE_PER_ROLE:
                self._in_use.discard(session)
                self._idle[role].append(session)

    def _release(self, session: Session | None, slot: asyncio.Semaphore) -> None:
        """Close a session that is not kept; release its slot when its backend has ended."""
        if session not in self._in_use:  # None, or kept as idle
            slot.release()
            return
        assert session is not None
        self._in_use.discard(session)
        is_running, process = session.is_running, session.backend_pid
        session.close()
        if is_running:
            task = asyncio.create_task(self._terminate_later(process, after_s=CANCEL_GRACE_S))
            task.add_done_callback(lambda _: slot.release())
            self._keep_task(task)
        else:
            slot.release()

    def _terminate_session(self, session: Session) -> None:
        """Terminate the backend of a session whose statements keep running after their cancellation."""
        self._keep_task(asyncio.create_task(self._terminate_later(session.backend_pid)))

    def _keep_task(self, task: asyncio.Task[None]) -> None:
        """Keep a reference to a task until it is done: asyncio has only a weak one."""
        self._termination_tasks.add(task)
        task.add_done_callback(self._termination_tasks.discard)

    async def _terminate_later(self, process: int, *, after_s: float = 0.0) -> None:
        """Terminate a backend after a delay, if it is still running."""
        await asyncio.sleep(after_s)
        with suppress(psycopg.OperationalError):  # PostgreSQL has stopped
            await run_in_threadpool(self._terminate, process, after_s)

    def _terminate(self, process: int, age_s: float) -> None:
        """Terminate a backend; a younger one has reused the process id and is left alone."""
        with self._state.admin() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = %s AND backend_start <= clock_timestamp() - make_interval(secs => %s)",
                (process, age_s),
            )

    async def type_names(self, session: Session) -> dict[int, str]:
        """Return names of types by oid: those that CARTO supports, which are PostgreSQL's built-in and PostGIS's."""
        if self._types is None:
            result = await session.execute(
                "SELECT oid, typname FROM pg_catalog.pg_type"
                " WHERE oid < 10000 OR typname IN ('geometry', 'geography', 'raster')"
            )
            rows = ((result.get_value(row, 0), result.get_value(row, 1)) for row in range(result.ntuples))
            self._types = {int(oid or 0): (name or b"").decode() for oid, name in rows}
        return self._types

    def close_idle(self) -> None:
        """Close all idle sessions. Thread-safe."""
        self._types = None
        for idle in list(self._idle.values()):
            while idle:
                try:
                    idle.popleft().close()
                except IndexError:  # a request took the last one in the meantime
                    break

    def close(self) -> None:
        """Close all sessions; running statements are canceled."""
        self.close_idle()
        for session in list(self._in_use):
            session.close()

    async def _take(self, role: str) -> Session | None:
        """Return a clean idle session, None if there is none."""
        idle = self._idle[role]
        while idle:
            session = idle.pop()
            try:
                if await session.is_clean():
                    return session
            except BaseException:  # including the cancellation of the request
                session.close()
                raise
            session.close()
        return None

    async def _connect(self, role: str) -> Session:
        """Open a session of a role; retry while PostgreSQL recovers from a crash."""
        session_class = ReadOnlySession if self._is_read_only(role) else Session
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        while True:
            try:
                return await session_class.connect(self.conninfo(role))
            except SQLError as error:
                if not is_recovering(error.message) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(RECOVERY_PAUSE_S)

    def _is_read_only(self, role: str) -> bool:
        """Return whether sessions of a role are read-only."""
        return self._read_only or role == PUBLIC_ROLE

    def conninfo(self, role: str) -> str:
        """Return the connection string of a role, with the settings of the SQL API."""
        conninfo = self._state.conninfo(role)
        options = f"{conninfo_to_dict(conninfo).get('options') or ''} {SETTINGS}"
        if self._is_read_only(role):
            options += " -c default_transaction_read_only=on"
        if self._state.statement_timeout_s is not None:
            options += f" -c statement_timeout={_milliseconds(self._state.statement_timeout_s)}"
        return make_conninfo(conninfo, options=options.strip())


def _milliseconds(seconds: float) -> int:
    """Convert a timeout to milliseconds, at least 1: 0 would disable it."""
    return max(1, round(seconds * 1000))
