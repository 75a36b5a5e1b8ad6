"""Poll the state of a job on the server until it has finished."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import TYPE_CHECKING, Protocol, TypeVar

from cartoframes_lite._client.http.progress import Waiting
from cartoframes_lite.errors import JobTimeout


class Job(Protocol):
    """A snapshot of a job."""

    @property
    def state(self) -> str:
        """State in CARTO's words."""


T = TypeVar("T")
R = TypeVar("R", bound="DataclassInstance")
J = TypeVar("J", bound=Job)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_FIRST_INTERVAL_S, _MAX_INTERVAL_S, _GROWTH = 0.1, 5.0, 1.5


def poll(
    poll: Callable[[], T],
    *,
    done: Callable[[T], bool],
    timeout_s: float | None,
    what: str,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Call `poll` until `done` is true for its result, at intervals that grow from 0.1 to 5 seconds.

    Parameters
    ----------
    poll : callable
        Requests the current state.
    done : callable
        Returns whether a state is final.
    timeout_s : float or None
        Maximum time to wait, in seconds. None: no limit.
    what : str
        Name of the job in the message of JobTimeout.
    sleep, clock : callable
        Replaced in tests.

    Raises
    ------
    JobTimeout
        If the job has not finished in time. It continues on the server.
    """
    deadline, interval_s = clock() + (math.inf if timeout_s is None else timeout_s), _FIRST_INTERVAL_S
    while True:
        state = poll()
        if done(state):
            return state
        remaining_s = deadline - clock()
        if remaining_s <= 0:
            raise JobTimeout(
                f"{what} is not done after {timeout_s:g} s and continues on the server: check it later, or pass a"
                " larger timeout_s"
            )
        sleep(min(interval_s, remaining_s))
        interval_s = min(_MAX_INTERVAL_S, interval_s * _GROWTH)


def wait(
    read: Callable[[], J],
    *,
    final: Collection[str],
    what: str,
    activity: str,
    timeout_s: float | None,
    progress: bool | None,
) -> J:
    """Wait until a job has finished, successfully or not, and show its state.

    Parameters
    ----------
    read : callable
        Requests the job.
    final : collection of str
        States of a finished job.
    what : str
        Name of the job in the message of JobTimeout.
    activity : str
        Title of the progress line, such as "importing".
    timeout_s, progress
        As in ``ImportJob.wait``.

    Raises
    ------
    JobTimeout
        If the job has not finished in time. It continues on the server.
    """
    with Waiting(activity, progress) as shown:

        def read_and_show() -> J:
            job = read()
            shown.say(job.state)
            return job

        return poll(read_and_show, done=lambda job: job.state in final, timeout_s=timeout_s, what=what)


def update_job(job: R, current: R) -> R:
    """Copy the state of a job to an older object of it, and return that object.

    Users cannot set the attributes of a job, and the job that they hold shows its state after they have waited for it.
    """
    for item in fields(job):
        object.__setattr__(job, item.name, getattr(current, item.name))
    return job
