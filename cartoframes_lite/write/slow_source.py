"""Send the rows of a source that may be slower than the network, without leaving a request silent.

Servers and proxies close an upload that sends nothing, or very little, for some seconds. The source is therefore
iterated in the calling thread, while another thread sends what is there: the request ends when nothing comes. Not the
other way round, since some sources may be used only in the thread that made them, such as a connection of sqlite3.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TypeVar

import pyarrow as pa

MAX_PAUSE_S = 3.0  # in which a source may keep an open request waiting, for each _MIN_BYTES that it yields
_MIN_BYTES = 1 << 20
AHEAD_BYTES = 8 << 20  # gathered before a request is opened, so that the pieces of a slow source are not tiny
_KEPT_BYTES = 32 << 20  # batches kept for a request that is rejected, usually before that much is sent
_INTERRUPT_TIMEOUT_S = 5.0  # for ending an upload after an interrupt

T = TypeVar("T")


class SourceIsSlow(Exception):
    """The source yields nothing, or too little: the request is to be ended, and another one to be begun later."""


class Batches:
    """Record batches of a source in memory.

    Parameters
    ----------
    make : callable
        Returns an iterator of the batches, from the first one, for each attempt.
    """

    def __init__(self, make: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        self._make = make
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._ahead: deque[pa.RecordBatch | None] = deque()  # fetched, but not returned by ``next``; None is the end

    def restart(self, preceding: int) -> None:
        """Iterate again from the batch after so many."""
        self._ahead.clear()
        self._batches = islice(self._make(), preceding, None)

    def begin_request(self) -> bool:
        """Return whether any batch is left for another request."""
        if not self._ahead:
            self._ahead.append(self._fetch())
        return self._ahead[0] is not None

    def next(self) -> pa.RecordBatch | None:
        """Return the next batch; None at the end."""
        return self._ahead.popleft() if self._ahead else self._fetch()

    def run(self, send: Callable[[], T]) -> T:
        """Call a function that sends the batches."""
        return send()

    def _fetch(self) -> pa.RecordBatch | None:
        return next(self._batches, None)


class SlowBatches(Batches):
    """Record batches of a source that may be slower than the network.

    ``next`` is called by the thread that sends; the source is iterated in the thread that calls ``run``.
    """

    def __init__(self, make: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        super().__init__(make)
        self._kept: list[pa.RecordBatch | None] | None = None  # batches of the current request
        self._kept_bytes = 0
        self._calls: SimpleQueue[Callable[[], pa.RecordBatch | None] | None] = SimpleQueue()
        self._results: SimpleQueue[pa.RecordBatch | BaseException | None] = SimpleQueue()
        self._is_pending = self._is_interrupted = False
        self._waited_s, self._waited_bytes = 0.0, 0

    def restart(self, preceding: int) -> None:
        """Iterate again from the batch after so many; those of the current request usually are in memory."""
        if self._kept is not None:
            self._ahead.extendleft(reversed(self._kept))
            self._kept, self._kept_bytes = [], 0
            return
        if self._is_pending:
            self._result(None)
        super().restart(preceding)

    def begin_request(self) -> bool:
        """Gather some batches, and return whether there are any."""
        size = sum(batch.nbytes for batch in self._ahead if batch is not None)
        while size < AHEAD_BYTES and (not self._ahead or self._ahead[-1] is not None):
            batch = self._result(None) if self._is_pending else self._fetch()
            self._ahead.append(batch)
            size += 0 if batch is None else batch.nbytes
        self._kept, self._kept_bytes = [], 0
        self._waited_s, self._waited_bytes = 0.0, 0
        return self._ahead[0] is not None

    def next(self) -> pa.RecordBatch | None:
        """Return the next batch; None at the end.

        Raises
        ------
        SourceIsSlow
            If the request has waited too long for it.
        """
        if self._ahead:
            batch = self._ahead.popleft()
        else:
            self._request()
            batch = self._wait()
        if batch is not None and not self._ahead:
            self._request()  # is fetched while this batch is sent
        if self._kept is not None:
            self._kept.append(batch)
            self._kept_bytes += 0 if batch is None else batch.nbytes
            if self._kept_bytes > _KEPT_BYTES:
                self._kept = None
        return batch

    def run(self, send: Callable[[], T]) -> T:
        """Call a function that sends the batches in another thread, and iterate over the source in this one."""
        outcome: list[T | BaseException] = []

        def work() -> None:
            try:
                outcome.append(send())
            except BaseException as error:  # noqa: BLE001  # raised in the calling thread
                outcome.append(error)
            self._calls.put(None)

        sender = threading.Thread(target=copy_context().run, args=(work,), name="cartoframes_lite upload", daemon=True)
        try:
            sender.start()
            while (call := self._calls.get()) is not None:
                self._results.put(_outcome(call))
        except BaseException:
            self._is_interrupted = True
            self._results.put(None)  # wakes the sender, which ends its request so that the server rejects it
            sender.join(_INTERRUPT_TIMEOUT_S)
            raise
        result = outcome.pop()
        if isinstance(result, BaseException):
            raise result
        return result

    def _request(self) -> None:
        """Request the next batch from the thread of the source."""
        if not self._is_pending:
            self._calls.put(self._fetch)
            self._is_pending = True

    def _wait(self) -> pa.RecordBatch | None:
        """Wait for the requested batch while the source is fast enough."""
        began = time.monotonic()
        try:
            batch = self._result(max(0.0, MAX_PAUSE_S - self._waited_s))
        except Empty:
            raise SourceIsSlow from None
        self._waited_s += time.monotonic() - began
        self._waited_bytes += 0 if batch is None else batch.nbytes
        if self._waited_bytes >= _MIN_BYTES:
            self._waited_s, self._waited_bytes = 0.0, 0
        return batch

    def _result(self, timeout_s: float | None) -> pa.RecordBatch | None:
        """Return the batch that was requested, or raise the exception of the source or of an interrupt."""
        result = self._results.get(timeout=timeout_s)
        self._is_pending = False
        if self._is_interrupted:
            raise KeyboardInterrupt
        if isinstance(result, BaseException):
            raise result
        return result


def _outcome(call: Callable[[], pa.RecordBatch | None]) -> pa.RecordBatch | BaseException | None:
    """Return the result or the exception of a call."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001  # raised in the other thread
        return error
