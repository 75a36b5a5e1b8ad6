"""Batch API: run queries as jobs that may take hours. Requires the master key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cartoframes_lite._client import polling
from cartoframes_lite._client.http.json_fields import required
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.sql import PATH
from cartoframes_lite.errors import JobError

_MAX_PAYLOAD_BYTES = 16_384
_FINAL = ("done", "failed", "cancelled", "canceled", "unknown")  # CARTO's documentation spells "canceled"


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
    >>> client.batch.wait(job["job_id"], timeout_s=3600)["status"]
    'done'
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, query: str | Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
        """Create a job.

        Parameters
        ----------
        query : str, list of str, or dict
            Statements. The statements of a list run one after the other, until the first failure. A dict is a multi
            query of the Batch API with ``query``, ``onsuccess`` and ``onerror``.

        Returns
        -------
        dict
            The job: ``job_id``, ``status``, ``query``, ``created_at`` ...

        Raises
        ------
        ValueError
            If the request is longer than the 16 KB that the API accepts.
        PermissionDenied
            If the key is not the master key.
        """
        body = {"query": query if isinstance(query, str | Mapping) else list(query)}
        size = _payload_bytes(body)
        if size > _MAX_PAYLOAD_BYTES:
            raise ValueError(f"the job has {size} bytes, and the Batch API accepts {_MAX_PAYLOAD_BYTES}: split it")
        return self._transport.json(
            "POST", f"{PATH}/job", idempotent=False, json_body=body, read=_job, expect=(200, 201)
        )

    def read(self, job_id: str) -> dict[str, Any]:
        """Return the current state of a job."""
        return self._transport.json("GET", f"{PATH}/job/{job_id}", idempotent=True, read=_job)

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job that has not finished."""
        return self._transport.json("DELETE", f"{PATH}/job/{job_id}", idempotent=True, read=_job)

    def wait(self, job_id: str, *, timeout_s: float | None = 600.0) -> dict[str, Any]:
        """Wait until a job is done.

        Parameters
        ----------
        job_id : str
        timeout_s : float, default 600
            Maximum time to wait, in seconds. None: no limit.

        Raises
        ------
        JobError
            If the job failed or was canceled. The message contains the reason.
        JobTimeout
            If the job has not finished in time. It continues on the server.
        """
        job = polling.poll(
            lambda: self.read(job_id),
            done=lambda job: job["status"] in _FINAL,
            timeout_s=timeout_s,
            what=f"batch job {job_id}",
        )
        if job["status"] != "done":
            raise JobError(
                f"batch job {job_id} {job['status']}: {job.get('failed_reason', 'no reason in the response')}",
                job=job,
            )
        return job


def fits_job(query: str) -> bool:
    """Check whether a query is short enough for a job."""
    return _payload_bytes({"query": query}) <= _MAX_PAYLOAD_BYTES


def _payload_bytes(body: Mapping[str, Any]) -> int:
    return len(json.dumps(body).encode())


def _job(response: Any) -> dict[str, Any]:
    """Check that a response contains a job id and a status, the only required members."""
    required(response, "job_id"), required(response, "status")
    return dict(response)
