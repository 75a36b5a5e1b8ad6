"""How many bytes of bodies are held in memory at once: one account for all requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from cartoframes_lite.local.http.responses import RequestError

FREE_BYTES = 65_536  # of each body; what most requests send finds room in any case
# So long a body may take before it has to make room for others: on loopback 10 MB take a tenth of it.
_GRACE_S = 1.0
_LATE = "the body of the request did not arrive in time"
_NO_ROOM = "too many large requests at a time: try again later"


class ByteBudget:
    """Counts the bytes of all bodies that are held.

    Parameters
    ----------
    size_bytes : int
        Of all of them together, without the first 64 KB of each. One alone may have more.
    timeout_s : float
        Longest time in which a body has to arrive, and for which it waits for room, in seconds.
    idle_timeout_s : float
        Longest time in which an upload, which is not held, sends nothing, in seconds.
    """

    def __init__(self, size_bytes: int, timeout_s: float, idle_timeout_s: float) -> None:
        self.timeout_s, self.idle_timeout_s = timeout_s, idle_timeout_s
        self._size = size_bytes
        self._held: set[HeldBytes] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def used_bytes(self) -> int:
        """Bytes that are counted now."""
        return sum(held.counted_bytes for held in self._held)

    @contextmanager
    def holding(self) -> Iterator[HeldBytes]:
        """Count the body of a request until its end."""
        held = HeldBytes(self)
        self._held.add(held)
        try:
            yield held
        finally:
            self._held.discard(held)
            self.wake()

    def has_room(self, held: HeldBytes, size_bytes: int) -> bool:
        """Tell whether a body may have a size: there is room for it, or no other large one."""
        others = self.used_bytes - held.counted_bytes
        return size_bytes <= FREE_BYTES or not others or others + size_bytes - FREE_BYTES <= self._size

    async def wait(self, held: HeldBytes) -> None:
        """Wait until something changes; a body that has been arriving for too long makes room."""
        arriving = [
            other for other in self._held if other is not held and other.can_be_given_up and other.counted_bytes
        ]
        if arriving:
            min(arriving, key=lambda other: other.counted_at).give_up()
        changed = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            await asyncio.wait({changed}, timeout=_GRACE_S / 4)
        finally:
            self._waiting.discard(changed)

    def wake(self) -> None:
        """Let those look again who wait for room."""
        for changed in self._waiting:
            if not changed.done():
                changed.set_result(None)


class HeldBytes:
    """The bytes of one request.

    Attributes
    ----------
    counted_at : float
        When room was found for the body, by the monotonic clock.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._bytes = 0
        self._arriving: asyncio.Timeout | None = None
        self._given_up = self._is_waiting = False
        self.counted_at = 0.0

    @property
    def counted_bytes(self) -> int:
        """What counts of the body."""
        return max(0, self._bytes - FREE_BYTES)

    @property
    def idle_timeout_s(self) -> float:
        """Longest time in which an upload sends nothing, in seconds."""
        return self._budget.idle_timeout_s

    @property
    def can_be_given_up(self) -> bool:
        """Whether the body has been arriving for so long that others come first."""
        return self._arriving is not None and time.monotonic() - self.counted_at > _GRACE_S

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """Give the body its time to arrive.

        Raises
        ------
        RequestError
            408 if it takes longer, 503 if it has to make room for another one or waits for room itself.
        """
        try:
            async with asyncio.timeout(self._budget.timeout_s) as self._arriving:
                yield
        except TimeoutError:
            late = not (self._given_up or self._is_waiting)
            raise RequestError(_LATE if late else _NO_ROOM, status=408 if late else 503) from None
        finally:
            self._arriving = None

    async def resize(self, size_bytes: int) -> None:
        """Count a body at another size, as soon as there is room for it.

        Raises
        ------
        RequestError
            503 if there is none in time.
        """
        give_up_at = time.monotonic() + self._budget.timeout_s
        while size_bytes > self._bytes and not self._budget.has_room(self, size_bytes):
            self._is_waiting = True
            if time.monotonic() > give_up_at:
                raise RequestError(_NO_ROOM, status=503)
            await self._budget.wait(self)
        self._is_waiting = False
        self._bytes, self.counted_at = size_bytes, time.monotonic()
        self._budget.wake()

    def give_up(self) -> None:
        """End the arrival of the body."""
        if self._arriving is not None and not self._given_up:
            self._given_up = True
            self._arriving.reschedule(asyncio.get_running_loop().time())
