"""Sessions kept ready for the next request of the same role."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.postgres.logins import RECOVERY_PAUSE_S, RECOVERY_TIMEOUT_S, is_recovering
from cartoframes_lite.local.postgres.roles import PUBLIC_ROLE
from cartoframes_lite.local.postgres.session import CANCEL_GRACE_S, Session, SQLError
from cartoframes_lite.local.sql.read_only import ReadOnlySession
from cartoframes_lite.local.state import State

# What the answers of the SQL API are written in; a query may change it for itself.
# Roles may set what their sessions load, for themselves; a library that is not there would be the end of all of them.
SETTINGS = (
    "-c TimeZone=UTC -c DateStyle=ISO,MDY -c IntervalStyle=postgres -c extra_float_digits=1 -c local_preload_libraries="
)
IDLE_PER_ROLE = 4  # a new session costs some 5 ms, more with its first geometry: PostGIS is loaded then
# At a time; others wait. Requests of one role cannot use up the connections that all others need, too.
MOST_PER_ROLE = 60
_SLACK_S = 0.1  # PostgreSQL's own limit comes first
_MOST_EXPORTING = 2
_EXPORT_TIMEOUT_S = 300.0
COPY_TIMEOUT_S = 5 * 3600.0
BATCH_TIMEOUT_S = 12 * 3600.0


class Sessions:
    """Lends sessions of roles; each request gets a clean one.

    Parameters
    ----------
    state : State
        Says how to log in as a role, and how long a statement may take.
    read_only : bool
        Whether statements may change nothing, whatever the role. Those of requests without a key never may.

    Attributes
    ----------
    exporting : asyncio.Semaphore
        For exports that take a process of their own.
    most_export_bytes : int
        Largest export that is made before it is sent.
    export_timeout_s : float
        Longest time of the query of an export that GDAL writes, and of the writing, in seconds.
    """

    def __init__(self, state: State, *, read_only: bool = False) -> None:
        self._state = state
        self._read_only = read_only
        self._idle: dict[str, deque[Session]] = defaultdict(deque)
        self._lent: set[Session] = set()
        self._turns: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MOST_PER_ROLE))
        self._types: dict[int, str] | None = None
        self.exporting = asyncio.Semaphore(_MOST_EXPORTING)
        self.most_export_bytes = state.plan.file_bytes
        self.export_timeout_s = min(_EXPORT_TIMEOUT_S, state.statement_timeout_s or _EXPORT_TIMEOUT_S)
        self._ending: set[asyncio.Task[None]] = set()
        state.on_reset.append(self.forget)

    @asynccontextmanager
    async def open(self, role: str, *, timeout_s: float | None = None, together: bool = True) -> AsyncIterator[Session]:
        """Lend a session of a role.

        Parameters
        ----------
        role : str
            Database role of an api key.
        timeout_s : float, optional
            Longest time of a statement, in seconds, in place of the account's statement timeout.
        together : bool
            Whether it is also the longest time of all statements that are sent together, whatever they set, and rows
            have a limit.

        Raises
        ------
        SQLError
            If PostgreSQL cannot be reached.
        """
        turn = self._turns[role]
        await turn.acquire()
        session = None
        try:
            session = await self._take(role) or await self._connect(role)
            self._lent.add(session)
            limit_s = timeout_s or self._state.statement_timeout_s
            session.time_limit_s = limit_s + _SLACK_S if together and limit_s else None
            session.on_overrun = self._end
            session.most_bytes = self._state.plan.row_bytes if together else None
            async with self._cleaning(session, role):
                if timeout_s is not None:
                    # Not by its own method: that of a read-only session would undo it with the transaction.
                    await Session.execute(session, f"SET statement_timeout = {_milliseconds(timeout_s)}")
                yield session
        finally:
            self._give_back(session, turn)

    @asynccontextmanager
    async def _cleaning(self, session: Session, role: str) -> AsyncIterator[None]:
        """Keep a session for the next request, if it can be cleaned."""
        healthy = False
        try:
            yield
            healthy = await session.begin_cleaning()
        except SQLError:
            healthy = await session.begin_cleaning()
            raise
        finally:
            if healthy and len(self._idle[role]) < IDLE_PER_ROLE:
                self._lent.discard(session)
                self._idle[role].append(session)

    def _give_back(self, session: Session | None, turn: asyncio.Semaphore) -> None:
        """Let the next request have its turn, after the end of what this one has left running."""
        if session not in self._lent:  # None, or kept
            turn.release()
            return
        assert session is not None
        self._lent.discard(session)
        is_running, process = session.is_running, session.pgconn.backend_pid
        session.close()
        if is_running:
            ending = asyncio.create_task(self._end_process(process, after_s=CANCEL_GRACE_S))
            ending.add_done_callback(lambda _: turn.release())
            self._keep(ending)
        else:
            turn.release()

    def _end(self, session: Session) -> None:
        """End the connection of a session whose statements do not stop."""
        self._keep(asyncio.create_task(self._end_process(session.pgconn.backend_pid)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Keep a task from the garbage collector until it is done."""
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end_process(self, process: int, *, after_s: float = 0.0) -> None:
        """End a process of PostgreSQL that is at least so old, if it is still there after a time."""
        await asyncio.sleep(after_s)
        with suppress(psycopg.OperationalError):  # PostgreSQL has stopped, and the process with it
            await run_in_threadpool(self._terminate, process, after_s)

    def _terminate(self, process: int, age_s: float) -> None:
        with self._state.admin() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = %s AND backend_start <= clock_timestamp() - make_interval(secs => %s)",
                (process, age_s),
            )

    async def type_names(self, session: Session) -> dict[int, str]:
        """Return the names of the types that CARTO knows, by oid: PostgreSQL's own and those of PostGIS."""
        if self._types is None:
            result = await session.execute(
                "SELECT oid, typname FROM pg_catalog.pg_type"
                " WHERE oid < 10000 OR typname IN ('geometry', 'geography', 'raster')"
            )
            rows = ((result.get_value(row, 0), result.get_value(row, 1)) for row in range(result.ntuples))
            self._types = {int(oid or 0): (name or b"").decode() for oid, name in rows}
        return self._types

    def forget(self) -> None:
        """Close the idle sessions. Safe to call from any thread."""
        self._types = None
        for idle in list(self._idle.values()):
            while idle:
                try:
                    idle.popleft().close()
                except IndexError:  # a request took the last one in this moment
                    break

    def close(self) -> None:
        """Close all sessions; what runs in them is stopped."""
        self.forget()
        for session in list(self._lent):
            session.close()

    async def _take(self, role: str) -> Session | None:
        """Return an idle session that still lives, clean."""
        idle = self._idle[role]
        while idle:
            session = idle.pop()
            try:
                if await session.is_clean():
                    return session
            except BaseException:  # the request is given up meanwhile
                session.close()
                raise
            session.close()
        return None

    async def _connect(self, role: str) -> Session:
        """Open a session of a role; while PostgreSQL recovers from a crash, wait for it."""
        kind = ReadOnlySession if self._is_read_only(role) else Session
        give_up = time.monotonic() + RECOVERY_TIMEOUT_S
        while True:
            try:
                return await kind.connect(self._conninfo(role))
            except SQLError as error:
                if not is_recovering(error.message) or time.monotonic() > give_up:
                    raise
            await asyncio.sleep(RECOVERY_PAUSE_S)

    def _is_read_only(self, role: str) -> bool:
        return self._read_only or role == PUBLIC_ROLE

    def _conninfo(self, role: str) -> str:
        """Return the connection string of a role with the settings of this server."""
        conninfo = self._state.conninfo(role)
        options = f"{conninfo_to_dict(conninfo).get('options') or ''} {SETTINGS}"
        if self._is_read_only(role):
            options += " -c default_transaction_read_only=on"
        if self._state.statement_timeout_s is not None:
            options += f" -c statement_timeout={_milliseconds(self._state.statement_timeout_s)}"
        return make_conninfo(conninfo, options=options.strip())


def _milliseconds(seconds: float) -> int:
    """Convert a timeout; 0 would mean none."""
    return max(1, round(seconds * 1000))
