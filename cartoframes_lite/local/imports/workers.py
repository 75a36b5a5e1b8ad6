"""Worker threads of imports and synchronizations, and their cancellation."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from cartoframes_lite.local.imports.files import ImportJobError

_LOG = logging.getLogger(__name__)
_UNKNOWN = 99999
STUCK = 6671

Result = TypeVar("Result")


class Cancellation:
    """Cancellation token: lets one thread abort blocking calls of another.

    Attributes
    ----------
    code : int or None
        Import error code of the cancellation; None if not cancelled.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """Register a callback for the duration of the context; raise ImportJobError if already cancelled."""
        with self._lock:
            self.check()
            self._callbacks.append(callback)
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)

    @contextmanager
    def timeout(self, timeout_s: float, code: int) -> Iterator[None]:
        """Cancel with a code if the context lasts longer than the timeout."""
        timer = threading.Timer(timeout_s, self.cancel, [code])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def cancel(self, code: int) -> None:
        """Run the registered callbacks. Calls after the first have no effect."""
        with self._lock:
            if self.code is None:
                self.code = code
                for callback in self._callbacks:
                    callback()

    def check(self) -> None:
        """Raise ImportJobError if cancelled."""
        if self.code is not None:
            raise ImportJobError(self.code)


class Workers:
    """Pool of worker threads.

    Parameters
    ----------
    count : int
        Number of threads. Further tasks are queued.
    """

    def __init__(self, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="carto-import")
        self._running: dict[Future[Any], Cancellation] = {}
        self._changed = threading.Condition()

    def submit(
        self,
        task: Callable[[Cancellation], Result],
        on_done: Callable[[Result | ImportJobError], None],
    ) -> None:
        """Queue a task.

        Parameters
        ----------
        task : callable
            Called with its cancellation token.
        on_done : callable
            Called in the same thread with the result of `task` or the error. An unexpected exception is logged and
            passed as the code 99999.
        """
        cancellation = Cancellation()

        def finish(future: Future[Result]) -> None:
            try:
                result = _outcome(future, cancellation)
                on_done(result)
            finally:
                with self._changed:
                    self._running.pop(future, None)
                    self._changed.notify_all()

        with self._changed:
            future: Future[Result] = self._executor.submit(task, cancellation)
            self._running[future] = cancellation
        future.add_done_callback(finish)

    def cancel_all(self, timeout_s: float) -> None:
        """Cancel running and queued tasks, and wait at most `timeout_s` seconds until they have stopped."""
        with self._changed:
            running = dict(self._running)
        for future, cancellation in running.items():
            cancellation.cancel(STUCK)
            future.cancel()
        with self._changed:
            self._changed.wait_for(lambda: not any(future in self._running for future in running), timeout_s)

    def close(self, timeout_s: float) -> None:
        """Cancel all tasks and stop the threads."""
        self._executor.shutdown(wait=False)
        self.cancel_all(timeout_s)


def _outcome(future: Future[Result], cancellation: Cancellation) -> Result | ImportJobError:
    """Return the result of a task or its error."""
    if future.cancelled():
        return ImportJobError(cancellation.code or STUCK)
    error = future.exception()
    if error is None:
        return future.result()
    if cancellation.code is not None:
        return ImportJobError(cancellation.code)
    if isinstance(error, ImportJobError):
        return error
    _LOG.error("import failed with an unexpected exception", exc_info=error)
    return ImportJobError(_UNKNOWN)
