"""Parse a request that creates a batch job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cartoframes_lite.local.http.authentication import AuthenticatedRequest
from cartoframes_lite.local.http.request_bodies import Parameters
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.sql.batch_jobs import BatchJob, Step
from cartoframes_lite.local.sql.sessions import BATCH_TIMEOUT_S

_MAX_PAYLOAD_BYTES = 16_384


def check_size(body: Parameters) -> None:
    """Raise RequestError if a body is too large: its size as JSON in UTF-16 code units, as CARTO counts it."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if size > _MAX_PAYLOAD_BYTES:
        raise RequestError(
            f"Your payload is too large: {size} bytes. Max size allowed is {_MAX_PAYLOAD_BYTES} bytes (16kb)."
            " Are you trying to import data?. Please, check out import api"
            " http://docs.cartodb.com/cartodb-platform/import-api/"
        )


def read_job(authenticated: AuthenticatedRequest) -> BatchJob:
    """Return the job of a request; raise RequestError if its query is missing or has an invalid structure."""
    match authenticated.parameters.get("query"):
        case None | "" | 0:
            raise RequestError("You must indicate a valid SQL")
        case str(query):
            return BatchJob([Step(query)], "text")
        case [*queries] if all(isinstance(_sql(query), str) for query in queries):
            return BatchJob([_listed_step(query) for query in queries], "list")
        case {"query": [_, *_] as queries, **others} if all(isinstance(q, Mapping) and _sql(q) for q in queries):
            members: Mapping[Any, Any] = others
            onsuccess, onerror = _fallback(members, "onsuccess"), _fallback(members, "onerror")
            job = BatchJob([_step(query) for query in queries], "fallback", members, onsuccess, onerror)
            if onsuccess or onerror:
                job.fallback_status = "pending"
            return job
    raise RequestError("there is no job class for the provided query")


def _sql(member: Any) -> str | None:
    """Return the SQL of an item of a query list, None if it has none."""
    query = member.get("query") if isinstance(member, Mapping) else member
    return query if isinstance(query, str) else None


def _listed_step(member: Any) -> Step:
    """Return the step of an item of a query list. CARTO reads an object as a stored query with its own status."""
    if isinstance(member, str):
        return Step(member)
    status = member.get("status")
    return Step(member["query"], status=status if isinstance(status, str) else None, members=member)


def _step(member: Mapping[Any, Any]) -> Step:
    """Return the step of a query with fallbacks."""
    step = Step(member["query"], _fallback(member, "onsuccess"), _fallback(member, "onerror"), members=member)
    timeout_ms = member.get("timeout")
    if isinstance(timeout_ms, int | float) and timeout_ms > 0:
        step.timeout_s = min(max(timeout_ms, 1) / 1000, BATCH_TIMEOUT_S)
    if step.onsuccess or step.onerror:
        step.fallback_status = "pending"
    return step


def _fallback(members: Mapping[Any, Any], name: str) -> str | None:
    """Return the SQL of ``onsuccess`` or ``onerror``, None without one; raise RequestError if it is not a string."""
    query = members.get(name)
    if query is not None and not isinstance(query, str):
        raise RequestError(f"{name} must be SQL, not {query!r}")
    return query or None
