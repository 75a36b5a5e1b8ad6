"""Jobs of the Batch API, and the queue that runs them one at a time.

Jobs are kept in memory until a reset or the end of the process.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql.sessions import BATCH_TIMEOUT_S, Sessions
from cartoframes_lite.local.state import State

_MAX_QUEUED = 64
_MAX_JOBS = 1000  # the oldest finished job is dropped beyond this number
_MAX_RECENT = 10  # ended jobs in the list of recent ones
_RESET_TIMEOUT_S = 10.0
_FINAL = ("done", "failed", "cancelled", "unknown")


@dataclass(slots=True)
class Step:
    """One query of a job, with its fallback queries.

    ``members`` is the JSON object of the query in the request, empty if it was a string. ``status`` is None for an
    object in a query list without a status: CARTO never runs it.
    """

    query: str
    onsuccess: str | None = None
    onerror: str | None = None
    timeout_s: float = BATCH_TIMEOUT_S
    status: str | None = "pending"
    fallback_status: str | None = None
    failed_reason: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    members: Mapping[str, Any] = field(default_factory=dict)

    def set_status(self, status: str) -> None:
        """Set the status and its time."""
        self.status = status
        if status == "running":
            self.started_at = datetime.now(UTC)
        elif status in _FINAL:
            self.ended_at = datetime.now(UTC)

    def as_json(self, *, timed: bool) -> dict[str, Any]:
        """Return the query in the format of the API; ``timed`` adds the start and end times of fallback jobs."""
        current = {
            "status": self.status,
            "fallback_status": self.fallback_status,
            "started_at": _time(self.started_at) if timed and self.started_at else None,
            "ended_at": _time(self.ended_at) if timed and self.ended_at else None,
            "failed_reason": self.failed_reason,
        }
        return {"query": self.query, **self.members, **_without_none(current)}

    def fallback_query(self, job_id: str) -> str | None:
        """Return ``onsuccess`` or ``onerror``, with placeholders replaced, once the query has ended.

        Without one, the fallback is marked as skipped.
        """
        query = self.onsuccess if self.status == "done" else self.onerror
        if self.fallback_status is None:
            return None
        if query is None:
            self.fallback_status = "skipped"
            return None
        # Inserted without quoting, as on CARTO: quotes are part of the template.
        query = re.sub(r"<%=\s*job_id\s*%>", job_id, query)
        if self.status == "failed":
            reason = self.failed_reason or ""
            query = re.sub(r"<%=\s*error_message\s*%>", lambda _: reason, query)
        return query

    def skip(self) -> None:
        """Mark the query and its fallback as skipped if they are pending."""
        if self.status == "pending":
            self.status = "skipped"
        if self.fallback_status == "pending":
            self.fallback_status = "skipped"


@dataclass(slots=True, eq=False)
class BatchJob:
    """A batch job.

    ``form`` is the structure of its query: "text", "list" or "fallback". ``members`` has the other members of a
    "fallback" query.
    """

    steps: list[Step]
    form: str
    members: Mapping[str, Any] = field(default_factory=dict)
    onsuccess: str | None = None
    onerror: str | None = None
    job_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "pending"
    fallback_status: str | None = None
    failed_reason: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    on_end: list[Future[None]] = field(default_factory=list)  # resets that wait for the end of this job

    def set_status(self, status: str) -> None:
        """Set the status and its time."""
        self.status, self.updated_at = status, datetime.now(UTC)

    def cancel(self) -> None:
        """Mark the job and its running or first pending query as cancelled, the other queries as skipped."""
        step = next((step for step in self.steps if step.status in ("pending", "running")), None)
        if step is not None:
            step.set_status("cancelled")
        for other in self.steps:
            if other.fallback_status == "running":
                other.fallback_status = "cancelled"
        self.skip_pending()
        self.set_status("cancelled")
        if self.fallback_status is not None:
            self.fallback_status = "skipped"

    def skip_pending(self) -> None:
        """Mark pending queries as skipped. As on CARTO, those of a list keep their status."""
        if self.form == "fallback":
            for step in self.steps:
                step.skip()

    def fallback_query(self) -> str | None:
        """Return ``onsuccess`` or ``onerror`` of the job, once it has ended; without one, mark it as skipped.

        Unlike those of a query, it has no placeholders.
        """
        query = self.onsuccess if self.status == "done" else self.onerror
        if query is None and self.fallback_status is not None:
            self.fallback_status = "skipped"
        return query

    def as_json(self, user: str) -> dict[str, Any]:
        """Return the job in the format of the API."""
        members = {
            "user": user,
            "status": self.status,
            "query": self._query(),
            "created_at": _time(self.created_at),
            "updated_at": _time(self.updated_at),
            "failed_reason": self.failed_reason,
            "fallback_status": self.fallback_status,
            "job_id": self.job_id,
        }
        return _without_none(members)

    def _query(self) -> Any:
        if self.form == "text":
            return self.steps[0].query
        steps = [step.as_json(timed=self.form == "fallback") for step in self.steps]
        return steps if self.form == "list" else {**self.members, "query": steps}


class BatchJobs:
    """Queue of the account's jobs, and the task that runs them.

    Parameters
    ----------
    state : State
        Provides the role of the master key.
    sessions : Sessions
    """

    def __init__(self, state: State, sessions: Sessions) -> None:
        self.user = state.user
        self._state, self._sessions = state, sessions
        self._jobs: dict[str, BatchJob] = {}
        self._queue: deque[BatchJob] = deque()
        self._job_added = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: Future[None] = Future()
        self._current: BatchJob | None = None
        self._session: Session | None = None

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run queued jobs while the context is active."""
        self._loop = asyncio.get_running_loop()
        worker = asyncio.create_task(self._work())
        try:
            yield
        finally:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker
            self._loop = None
            self._stopped.set_result(None)

    def add(self, job: BatchJob) -> BatchJob:
        """Queue a job; raise RequestError if the queue is full."""
        if len(self._queue) >= _MAX_QUEUED:
            raise RequestError(f"Failed to create job. Max number of jobs ({_MAX_QUEUED}) queued reached")
        while len(self._jobs) >= _MAX_JOBS:
            oldest = next((job_id for job_id, old in self._jobs.items() if old.status in _FINAL), None)
            if oldest is None:
                break
            del self._jobs[oldest]
        self._jobs[job.job_id] = job
        self._queue.append(job)
        self._job_added.set()
        return job

    def recent(self) -> list[BatchJob]:
        """Return the jobs that have not ended, and the last ones that have, the newest first."""
        newest = list(reversed(self._jobs.values()))
        ended = [job for job in newest if job.status in _FINAL]
        return [job for job in newest if job.status not in _FINAL or job in ended[:_MAX_RECENT]]

    def find(self, job_id: str) -> BatchJob:
        """Return a job; raise RequestError if it does not exist."""
        if job_id not in self._jobs:
            raise RequestError(f"Job with id {job_id} not found")
        return self._jobs[job_id]

    def cancel(self, job: BatchJob) -> None:
        """Cancel a pending or running job; raise RequestError if it has ended."""
        if job.status in _FINAL:
            raise RequestError(f"Cannot set status from {job.status} to cancelled")
        job.cancel()
        if job in self._queue:
            self._queue.remove(job)
        if job is self._current and self._session is not None:
            self._session.cancel()

    def reset(self) -> None:
        """Drop all jobs and cancel the running one. Thread-safe, but must not be called in the event loop's thread."""
        loop, done = self._loop, Future[None]()
        if loop is None:
            return

        def begin() -> None:
            self._jobs.clear()
            self._queue.clear()
            if self._current is None:
                done.set_result(None)
                return
            self._current.on_end.append(done)
            if self._current.status not in _FINAL:
                self._current.cancel()
            if self._session is not None:
                self._session.cancel()

        with suppress(RuntimeError):  # the loop was closed in the meantime
            loop.call_soon_threadsafe(begin)
            wait((done, self._stopped), timeout=_RESET_TIMEOUT_S, return_when=FIRST_COMPLETED)

    async def _work(self) -> None:
        """Run queued jobs, one at a time, until canceled."""
        while True:
            await self._job_added.wait()
            self._job_added.clear()
            while self._queue:
                self._current = job = self._queue.popleft()
                await self._run(job)
                self._current = None
                for waiting in job.on_end:
                    waiting.set_result(None)

    async def _run(self, job: BatchJob) -> None:
        """Run the queries of a job until one fails. As on CARTO, a job without pending queries stays pending."""
        steps = [step for step in job.steps if step.status == "pending"]
        if not steps:
            return
        job.set_status("running")
        for step in steps:
            if not step.query and step is not steps[0]:
                break  # an empty query ends a list
            step.set_status("running")
            error = await self._execute(job, step.query, step.timeout_s)
            if job.status == "cancelled":
                return
            step.set_status("done" if error is None else "failed")
            step.failed_reason = error
            query = step.fallback_query(job.job_id)
            if query is None:
                job.failed_reason = error
            else:
                step.fallback_status = "running"
                failed = await self._execute(job, query, BATCH_TIMEOUT_S)
                if job.status == "cancelled":
                    return
                step.fallback_status = "done" if failed is None else "failed"
                step.failed_reason = failed or step.failed_reason
            if error is not None:
                job.skip_pending()
                break
        job.set_status("failed" if step.status == "failed" else "done")
        query = job.fallback_query()
        if query is not None:
            job.fallback_status = "running"
            job.fallback_status = "done" if await self._execute(job, query, BATCH_TIMEOUT_S) is None else "failed"

    async def _execute(self, job: BatchJob, query: str, timeout_s: float) -> str | None:
        """Run a query; return the error message if it fails, else None."""
        try:
            async with self._sessions.open(self._state.master_key.role, timeout_s=timeout_s, limited=False) as session:
                if job.status == "cancelled" or job.on_end:  # canceled or reset while the session was opened
                    return "cancelled"
                self._session = session
                reason = None
                async for results in session.results(query):
                    for result in results:
                        if result.status in (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE):
                            reason = SQLError.of(result).message
                return reason
        except SQLError as error:
            return error.message
        except psycopg.OperationalError as error:  # the connection was lost
            return str(error).strip()
        finally:
            self._session = None


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _time(time: datetime) -> str:
    """Format a UTC time in ISO 8601 with milliseconds, like JavaScript."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
