"""Batch API: run queries as jobs that may take hours. Requires the master key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cartoframes_lite._client import polling
from cartoframes_lite._client.http.json_fields import parse_datetime, record, required, text
from cartoframes_lite._client.http.progress import Waiting
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.polling import update_job
from cartoframes_lite._client.sql import PATH
from cartoframes_lite._codec.html import html_table
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import JobError

_MAX_PAYLOAD_BYTES = 16_384
_FINAL = ("done", "failed", "cancelled", "canceled", "unknown")  # CARTO's documentation spells "canceled"


@dataclass(frozen=True, slots=True)
class BatchJob(Mapping[str, Any]):
    """A batch job, with its state at the last request; ``refresh``, ``wait`` and ``cancel`` update it.

    It is also a mapping of the members of the API's response, such as ``job["job_id"]``.

    Attributes
    ----------
    id : str
    status : str
        "pending", "running", "done", "failed", "cancelled" or "unknown".
    query : str, list or dict
        As it was given to ``create``; those of a list or dict have a ``status`` of their own.
    failed_reason : str or None
        Message of the query that failed.
    created_at, updated_at : datetime or None
        With time zone.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> job = cfl.Client().batch.create("UPDATE stations SET year = year + 1")
    >>> job.wait(timeout_s=3600).status
    'done'
    """

    id: str
    status: str
    query: Any = field(repr=False, compare=False)
    failed_reason: str | None
    created_at: datetime | None
    updated_at: datetime | None
    credentials: Credentials = field(kw_only=True, repr=False, compare=False)
    _response: dict[str, Any] = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def from_response(cls, response: Mapping[str, Any], credentials: Credentials) -> BatchJob:
        """Parse a response of the API; job id and status are the only required members."""
        return cls(
            id=required(response, "job_id"),
            status=required(response, "status"),
            query=response.get("query"),
            failed_reason=text(response, "failed_reason"),
            created_at=parse_datetime(response.get("created_at")),
            updated_at=parse_datetime(response.get("updated_at")),
            credentials=credentials,
            _response=dict(response),
        )

    def __getitem__(self, name: str) -> Any:
        return self._response[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._response)

    def __len__(self) -> int:
        return len(self._response)

    @property
    def done(self) -> bool:
        """Whether the job has finished, successfully or not."""
        return self.status in _FINAL

    def __hash__(self) -> int:
        return hash(self.id)  # the state may change

    def refresh(self) -> BatchJob:
        """Request the current state, and return the job."""
        return update_job(self, self._service.read(self.id))

    def wait(self, *, timeout_s: float | None = 600.0, progress: bool | None = None) -> BatchJob:
        """Wait until the job has succeeded. The job has its last state also if an error is raised.

        Parameters
        ----------
        timeout_s : float, default 600
            Maximum time to wait, in seconds. None: no limit.
        progress : bool, optional
            Show the status. None: after two seconds; True: immediately; False: never.

        Returns
        -------
        BatchJob
            The finished job.

        Raises
        ------
        JobError
            If the job failed or was canceled. The message contains the reason.
        JobTimeout
            If the job has not finished in time. It continues on the server.
        """
        batch = Batch(Transport(self.credentials, progress=progress))
        batch._wait(self.id, lambda job: update_job(self, job), timeout_s=timeout_s, progress=progress)
        return self

    def cancel(self) -> BatchJob:
        """Cancel the job, and return it with its new state.

        Raises
        ------
        APIError
            If the job has finished already.
        """
        return update_job(self, self._service.cancel(self.id))

    @property
    def _service(self) -> Batch:
        return Batch(Transport(self.credentials))

    @property
    def _finished_queries(self) -> tuple[int, int] | None:
        """How many queries have finished, of how many; None if the job has one."""
        queries = self.query.get("query") if isinstance(self.query, Mapping) else self.query
        if not isinstance(queries, list) or len(queries) < 2:
            return None
        return sum(isinstance(query, Mapping) and query.get("status") in _FINAL for query in queries), len(queries)

    def _repr_html_(self) -> str:
        finished = self._finished_queries
        rows = {
            "status": self.status + (f", {finished[0]} of {finished[1]} queries finished" if finished else ""),
            "error": self.failed_reason,
            "created": self.created_at,
            "updated": self.updated_at,
        }
        return html_table(f"Batch job {self.id}", rows)


class Batch:
    """``client.batch``.

    Parameters
    ----------
    transport : Transport

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> client = cfl.Client()
    >>> job = client.batch.create(["UPDATE stations SET year = year + 1", "ANALYZE stations"])
    >>> job.wait(timeout_s=3600).status
    'done'
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, query: str | Sequence[str] | Mapping[str, Any]) -> BatchJob:
        """Create a job.

        Parameters
        ----------
        query : str, list of str, or dict
            Statements. The statements of a list run one after the other, until the first failure. A dict is a multi
            query of the Batch API with ``query``, ``onsuccess`` and ``onerror``.

        Returns
        -------
        BatchJob
            The job, which usually has not started.

        Raises
        ------
        TypeError
            If the query is not of these types, or has no statement.
        ValueError
            If the request is longer than the 16 KB that the API accepts.
        PermissionDenied
            If the key is not the master key.
        """
        statements = [query] if isinstance(query, str) else query
        if not isinstance(statements, Sequence | Mapping) or not statements:
            raise TypeError(f"query must be a statement, a list of statements or a dict, not {query!r}")
        if not isinstance(statements, Mapping) and not all(isinstance(one, str) and one.strip() for one in statements):
            raise TypeError(f"each statement of a job must be a string that is not empty, in {query!r}")
        body = {"query": query if isinstance(query, str | Mapping) else list(query)}
        size = _payload_bytes(body)
        if size > _MAX_PAYLOAD_BYTES:
            raise ValueError(f"the job has {size} bytes, and the Batch API accepts {_MAX_PAYLOAD_BYTES}: split it")
        return self._transport.json(
            "POST", f"{PATH}/job", idempotent=False, json_body=body, read=self._parse, expect=(200, 201)
        )

    def read(self, job_id: str) -> BatchJob:
        """Return the current state of a job."""
        return self._transport.json("GET", f"{PATH}/job/{job_id}", idempotent=True, read=self._parse)

    def cancel(self, job_id: str) -> BatchJob:
        """Cancel a job that has not finished."""
        return self._transport.json("DELETE", f"{PATH}/job/{job_id}", idempotent=True, read=self._parse)

    def wait(self, job_id: str, *, timeout_s: float | None = 600.0, progress: bool | None = None) -> BatchJob:
        """Wait until a job is done. Parameters, result and errors are those of ``BatchJob.wait``."""
        return self._wait(job_id, lambda job: job, timeout_s=timeout_s, progress=progress)

    def _wait(
        self, job_id: str, seen: Callable[[BatchJob], object], *, timeout_s: float | None, progress: bool | None
    ) -> BatchJob:
        """Wait until a job is done; call ``seen`` with each state."""
        with Waiting("batch job", progress) as shown:

            def read_and_show() -> BatchJob:
                job = self.read(job_id)
                seen(job)
                done, total = job._finished_queries or (0, None)
                shown.say(job.status, done=done, total=total)
                return job

            job = polling.poll(
                read_and_show, done=lambda job: job.done, timeout_s=timeout_s, what=f"batch job {job_id}"
            )
        if job.status != "done":
            raise JobError(
                f"batch job {job_id} {job.status}: {job.failed_reason or 'no reason in the response'}", job=job
            )
        return job

    def _parse(self, response: Any) -> BatchJob:
        return BatchJob.from_response(record(response), self._transport.credentials)


def fits_job(query: str) -> bool:
    """Check whether a query is short enough for a job."""
    return _payload_bytes({"query": query}) <= _MAX_PAYLOAD_BYTES


def _payload_bytes(body: Mapping[str, Any]) -> int:
    return len(json.dumps(body).encode())
