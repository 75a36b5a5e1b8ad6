"""Sessions kept ready for the next request of the same role."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .logins import RECOVERY_PAUSE_S, RECOVERY_TIMEOUT_S, is_recovering
from .read_only import ReadOnlySession
from .roles import PUBLIC_ROLE
from .session import Session, SQLError
from .state import State

# What the answers of the SQL API are written in; a query may change it for itself.
# Roles may set what their sessions load, for themselves; a library that is not there would be the end of all of them.
SETTINGS = (
    "-c TimeZone=UTC -c DateStyle=ISO,MDY -c IntervalStyle=postgres -c extra_float_digits=1 -c local_preload_libraries="
)
IDLE_PER_ROLE = 4  # a new session costs some 5 ms, more with its first geometry: PostGIS is loaded then
# At a time; others wait. Requests of one role cannot use up the connections that all others need, too.
MOST_PER_ROLE = 60
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
    """

    def __init__(self, state: State, *, read_only: bool = False) -> None:
        self._state = state
        self._read_only = read_only
        self._idle: dict[str, deque[Session]] = defaultdict(deque)
        self._lent: set[Session] = set()
        self._turns: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MOST_PER_ROLE))
        self._types: dict[int, str] | None = None
        state.on_reset.append(self.forget)

    @asynccontextmanager
    async def open(self, role: str, *, timeout_s: float | None = None) -> AsyncIterator[Session]:
        """Lend a session of a role.

        Parameters
        ----------
        role : str
            Database role of an api key.
        timeout_s : float, optional
            Longest time of a statement, in seconds, in place of the account's statement timeout.

        Raises
        ------
        SQLError
            If PostgreSQL cannot be reached.
        """
        async with self._turns[role]:
            session = await self._take(role) or await self._connect(role)
            self._lent.add(session)
            healthy = False
            try:
                if timeout_s is not None:
                    # Not by its own method: that of a read-only session would undo it with the transaction.
                    await Session.execute(session, f"SET statement_timeout = {_milliseconds(timeout_s)}")
                yield session
                healthy = await session.begin_cleaning()
            except SQLError:
                healthy = await session.begin_cleaning()
                raise
            finally:
                self._lent.discard(session)
                if healthy and len(self._idle[role]) < IDLE_PER_ROLE:
                    self._idle[role].append(session)
                else:
                    session.close()

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
