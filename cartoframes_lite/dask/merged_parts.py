"""Merge the partitions of a large new table before publishing, so that its indexes are built at the same time."""

from __future__ import annotations

import random

from cartoframes_lite._client.http.retry import backoff_s, call_with_retries
from cartoframes_lite.errors import CartoError, ConnectionFailed, QueryTimeout, ResponseTimeout
from cartoframes_lite.write import spatial_indexes
from cartoframes_lite.write.plan import WritePlan
from cartoframes_lite.write.publishing import BUSY, as_user_error, block_error_code
from cartoframes_lite.write.staged_sql import Parts, Staged
from cartoframes_lite.write.target import Destination

_BUSY_TIMEOUT_S = 300.0  # for locks of other processes that look at the staging tables
_MAX_BUSY_PAUSE_S = 5.0


def merge_large(destination: Destination, plan: WritePlan, staged: Staged, parts: Parts) -> bool:
    """Move the rows of all partitions to the parent and build its spatial indexes, if it becomes a large CARTO table.

    Returns
    -------
    bool
        Whether the parent has the rows. If not, publishing moves them: there are few, they go to an existing table, or
        moving them exceeds the statement timeout.

    Raises
    ------
    CartoError
        If the rows could not be moved, or the outcome is not known. The parent must not be published then.
    """
    if staged.rows < spatial_indexes.MIN_ROWS or not plan.spatial_indexes:
        return False
    request = plan.merge(destination.schema, staged, parts)
    try:
        row = call_with_retries(lambda: destination.client.sql.row(request, "name"), _delay_s)
    except ResponseTimeout:  # it may still be running
        raise
    except QueryTimeout:
        return False
    except CartoError as error:
        code = block_error_code(error)
        if code is None:
            raise
        raise as_user_error(destination, error, code) from error
    if row["name"] != staged.name:
        raise ConnectionFailed("the response belongs to another request")
    spatial_indexes.build_spatial_indexes(destination, staged, plan.spatial_indexes)
    return True


def _delay_s(error: CartoError, attempt: int, waited_s: float) -> float | None:
    """Return the delay after a lock timeout or a deadlock; lost connections are retried by the request itself."""
    if block_error_code(error) != BUSY or waited_s > _BUSY_TIMEOUT_S:
        return None
    return min(_MAX_BUSY_PAUSE_S, backoff_s(attempt, random.random()))
