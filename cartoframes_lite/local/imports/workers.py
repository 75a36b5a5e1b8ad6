"""Threads that work on imports, and how what they do is ended from outside."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from cartoframes_lite.local.imports.files import ImportRefused

_LOG = logging.getLogger(__name__)
_UNKNOWN = 99999
STUCK = 6671

Result = TypeVar("Result")


class Cancellation:
    """Lets one thread end what another one waits for.

    Attributes
    ----------
    code : int or None
        Code of the import error that the end is reported as; None as long as nobody has cancelled.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []

    @contextmanager
    def ends(self, end: Callable[[], None]) -> Iterator[None]:
        """Have a cancellation call a function as long as the context lasts; ImportRefused if it has come before."""
        with self._lock:
            self.check()
            self._ends.append(end)
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)

    @contextmanager
    def after(self, seconds: float, code: int) -> Iterator[None]:
        """Cancel if the context lasts longer than this."""
        timer = threading.Timer(seconds, self.cancel, [code])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def cancel(self, code: int) -> None:
        """End what is going on. The first call decides the code."""
        with self._lock:
            if self.code is None:
                self.code = code
                for end in self._ends:
                    end()

    def check(self) -> None:
        """Raise ImportRefused once it is cancelled."""
        if self.code is not None:
            raise ImportRefused(self.code)


class Workers:
    """A fixed number of threads.

    Parameters
    ----------
    count : int
        Pieces of work that are done at the same time; more of them wait.
    """

    def __init__(self, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="carto-import")
        self._running: dict[Future[Any], Cancellation] = {}
        self._changed = threading.Condition()

    def submit(
        self,
        work: Callable[[Cancellation], Result],
        ended: Callable[[Result | ImportRefused], None],
    ) -> None:
        """Queue a piece of work.

        Parameters
        ----------
        work : callable
            Is given what may cancel it.
        ended : callable
            Called in the same thread with what `work` returned, or with why there is nothing. An exception that
            nobody foresaw is logged, and becomes the code 99999.
        """
        cancellation = Cancellation()

        def finish(future: Future[Result]) -> None:
            try:
                result = _outcome(future, cancellation)
                ended(result)
            finally:
                with self._changed:
                    self._running.pop(future, None)
                    self._changed.notify_all()

        with self._changed:
            future: Future[Result] = self._executor.submit(work, cancellation)
            self._running[future] = cancellation
        future.add_done_callback(finish)

    def end(self, timeout_s: float) -> None:
        """Cancel all work, also what waits, and wait until it has ended."""
        with self._changed:
            running = dict(self._running)
        for future, cancellation in running.items():
            cancellation.cancel(STUCK)
            future.cancel()
        with self._changed:
            self._changed.wait_for(lambda: not any(future in self._running for future in running), timeout_s)

    def close(self, timeout_s: float) -> None:
        """Cancel all work and let the threads go."""
        self._executor.shutdown(wait=False)
        self.end(timeout_s)


def _outcome(future: Future[Result], cancellation: Cancellation) -> Result | ImportRefused:
    """Return the result of a piece of work, or why it has none."""
    if future.cancelled():
        return ImportRefused(cancellation.code or STUCK)
    error = future.exception()
    if error is None:
        return future.result()
    if cancellation.code is not None:
        return ImportRefused(cancellation.code)
    if isinstance(error, ImportRefused):
        return error
    _LOG.error("an import failed", exc_info=error)
    return ImportRefused(_UNKNOWN)
