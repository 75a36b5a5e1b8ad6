"""Limit of the pixels that are rendered concurrently, which bounds the memory of large images."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MAX_PIXELS = 8192 * 8192  # 268 MB as RGBA: one image of the maximum size, or many small ones


class PixelBudget:
    """A FIFO semaphore that counts pixels.

    Parameters
    ----------
    pixels : int
        Limit; an image with more pixels is rendered alone.
    """

    def __init__(self, pixels: int = MAX_PIXELS) -> None:
        self._limit = self._free = pixels
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def reserve(self, pixels: int) -> AsyncIterator[None]:
        """Wait until this many pixels are free, and reserve them until the end of the block."""
        needed = min(pixels, self._limit)
        if self._waiting or needed > self._free:
            acquired = asyncio.get_running_loop().create_future()
            self._waiting.append((needed, acquired))
            try:
                await acquired
            except asyncio.CancelledError:
                # Acquired and canceled in the same iteration of the event loop.
                if acquired.done() and not acquired.cancelled():
                    self._release(needed)
                else:
                    self._waiting.remove((needed, acquired))
                    self._wake_waiting()
                raise
        else:
            self._free -= needed
        try:
            yield
        finally:
            self._release(needed)

    def _release(self, pixels: int) -> None:
        self._free += pixels
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        """Assign free pixels to waiting requests, in order."""
        while self._waiting and self._waiting[0][0] <= self._free:
            needed, acquired = self._waiting.popleft()
            self._free -= needed
            acquired.set_result(None)
