"""Send requests that do not depend on each other at the same time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TypeVar, cast

from cartoframes_lite.credentials import Credentials

_MAX_THREADS = 4  # with the calling one, so that an account is not flooded

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")


def both(credentials: Credentials, first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Call two functions as ``at_once`` does, whose results may have different types."""
    return cast("tuple[A, B]", tuple(at_once(credentials, *cast("list[Callable[[], object]]", [first, second]))))


def at_once(credentials: Credentials, *calls: Callable[[], T]) -> list[T]:
    """Call functions that send requests at the same time, and return their results in order.

    All of them have ended when this function returns or raises, except after an interrupt, which does not wait for the
    requests of the others. With a session of the user, which may not be safe for threads, they are called one after the
    other.

    Parameters
    ----------
    credentials : Credentials
        Of the requests.
    *calls : callable
        The first is called in this thread: only it may warn, because warnings name the line of the user's code.

    Raises
    ------
    Exception
        If functions raise, that of the first of them.
    """
    if credentials.session is not None:
        return [call() for call in calls]
    results: list[T] = []
    for start in range(0, len(calls), _MAX_THREADS):
        results += _call_group(calls[start : start + _MAX_THREADS])
    return results


def _call_group(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Call a few functions at the same time."""
    # SimpleQueue is written in C; an interrupt in queue.Queue could leave its lock acquired.
    ended: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()

    def run(number: int) -> None:
        try:
            ended.put((number, calls[number](), None))
        except BaseException as error:  # noqa: BLE001  # raised in the other thread
            ended.put((number, None, error))

    for number in range(1, len(calls)):
        # A daemon: an interrupted program does not wait for it at its end.
        threading.Thread(target=copy_context().run, args=(run, number), name="carto-request", daemon=True).start()
    results: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    try:
        results[0] = calls[0]()
    except Exception as error:  # noqa: BLE001  # raised below, when the others have ended
        errors[0] = error
    for _ in range(1, len(calls)):
        number, result, failure = ended.get()
        if failure is None:
            results[number] = result  # type: ignore[assignment]  # None only if the function returns None
        else:
            errors[number] = failure
    if errors:
        raise errors[min(errors)]
    return [results[number] for number in range(len(calls))]
