"""Memory budget of request bodies, shared by all requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from cartoframes_lite.local.http.responses import RequestError

FREE_BYTES = 65_536  # not counted, for each body: most requests are smaller and never have to wait
# A body that is still arriving after this time can be canceled in favor of others. 10 MB take 0.1 s on loopback.
_GRACE_S = 1.0
_LATE = "the body of the request did not arrive in time"
_BUDGET_EXCEEDED = "too many large requests at the same time: try again later"


class ByteBudget:
    """Count the bytes of all request bodies that are in memory, and limit their sum.

    Parameters
    ----------
    size_bytes : int
        Budget of all bodies together, in bytes, not counting the first 64 KB of each. A single body may exceed it.
    timeout_s : float
        Timeout for a body to arrive, and for a body to wait for the budget, in seconds.
    idle_timeout_s : float
        Timeout of an upload that sends nothing, in seconds. Uploads are streamed and not counted.
    """

    def __init__(self, size_bytes: int, timeout_s: float, idle_timeout_s: float) -> None:
        self.timeout_s, self.idle_timeout_s = timeout_s, idle_timeout_s
        self._size = size_bytes
        self._held: set[HeldBytes] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def used_bytes(self) -> int:
        """Number of bytes that are currently counted."""
        return sum(held.counted_bytes for held in self._held)

    @contextmanager
    def holding(self) -> Iterator[HeldBytes]:
        """Return a context manager that counts the body of a request until the request has ended."""
        held = HeldBytes(self)
        self._held.add(held)
        try:
            yield held
        finally:
            self._held.discard(held)
            self.wake()

    def has_room(self, held: HeldBytes, size_bytes: int) -> bool:
        """Return whether a body can grow to a size: it fits the budget, or no other body is counted."""
        others = self.used_bytes - held.counted_bytes
        return size_bytes <= FREE_BYTES or not others or others + size_bytes - FREE_BYTES <= self._size

    async def wait(self, held: HeldBytes) -> None:
        """Cancel the oldest body that is past its grace period, and wait until the budget changes."""
        cancelable = [
            other for other in self._held if other is not held and other.is_cancelable and other.counted_bytes
        ]
        if cancelable:
            min(cancelable, key=lambda other: other.counted_at).cancel()
        changed = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            await asyncio.wait({changed}, timeout=_GRACE_S / 4)
        finally:
            self._waiting.discard(changed)

    def wake(self) -> None:
        """Wake the bodies that wait for the budget."""
        for changed in self._waiting:
            if not changed.done():
                changed.set_result(None)


class HeldBytes:
    """Bytes of one request body that are in memory.

    Attributes
    ----------
    counted_at : float
        When the current size was counted, by the monotonic clock, in seconds.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._bytes = 0
        self._arriving: asyncio.Timeout | None = None
        self._canceled = self._is_waiting = False
        self.counted_at = 0.0

    @property
    def counted_bytes(self) -> int:
        """Bytes of the body that count against the budget."""
        return max(0, self._bytes - FREE_BYTES)

    @property
    def idle_timeout_s(self) -> float:
        """Timeout of an upload that sends nothing, in seconds."""
        return self._budget.idle_timeout_s

    @property
    def is_cancelable(self) -> bool:
        """Whether the body is still arriving and past its grace period."""
        return self._arriving is not None and time.monotonic() - self.counted_at > _GRACE_S

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """Return a context manager that limits the time in which the body arrives.

        Raises
        ------
        RequestError
            408 on a timeout; 503 if the body was canceled in favor of another, or was waiting for the budget.
        """
        try:
            async with asyncio.timeout(self._budget.timeout_s) as self._arriving:
                yield
        except TimeoutError:
            late = not (self._canceled or self._is_waiting)
            raise RequestError(_LATE if late else _BUDGET_EXCEEDED, status=408 if late else 503) from None
        finally:
            self._arriving = None

    async def resize(self, size_bytes: int) -> None:
        """Change the counted size of the body; wait until it fits the budget.

        Raises
        ------
        RequestError
            503 on a timeout.
        """
        deadline = time.monotonic() + self._budget.timeout_s
        while size_bytes > self._bytes and not self._budget.has_room(self, size_bytes):
            self._is_waiting = True
            if time.monotonic() > deadline:
                raise RequestError(_BUDGET_EXCEEDED, status=503)
            await self._budget.wait(self)
        self._is_waiting = False
        self._bytes, self.counted_at = size_bytes, time.monotonic()
        self._budget.wake()

    def cancel(self) -> None:
        """Cancel the arrival of the body."""
        if self._arriving is not None and not self._canceled:
            self._canceled = True
            self._arriving.reschedule(asyncio.get_running_loop().time())
