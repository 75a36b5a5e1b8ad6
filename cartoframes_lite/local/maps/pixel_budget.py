"""How many pixels are drawn at once, so that large pictures wait for each other and not for more memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST_PIXELS = 8192 * 8192  # 268 MB as RGBA: the largest picture alone, or many small ones


class PixelBudget:
    """A semaphore that counts pixels; requests are served in their order.

    Parameters
    ----------
    pixels : int
        A picture of more is drawn alone.
    """

    def __init__(self, pixels: int = MOST_PIXELS) -> None:
        self._limit = self._free = pixels
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def reserve(self, pixels: int) -> AsyncIterator[None]:
        """Wait until so many pixels may be drawn, and keep them until the end of the block."""
        wanted = min(pixels, self._limit)
        if self._waiting or wanted > self._free:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((wanted, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # it was given the pixels in the same moment
                    self._release(wanted)
                else:
                    self._waiting.remove((wanted, turn))
                    self._serve()
                raise
        else:
            self._free -= wanted
        try:
            yield
        finally:
            self._release(wanted)

    def _release(self, pixels: int) -> None:
        self._free += pixels
        self._serve()

    def _serve(self) -> None:
        """Give free pixels to those who wait longest."""
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            self._free -= wanted
            turn.set_result(None)
