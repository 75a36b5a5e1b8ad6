"""Receive while the rows before are being decoded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_BLOCKS = 64  # of some 256 KB: enough for both sides to keep busy, and a bound for memory


@contextmanager
def prefetched(blocks: Iterator[bytes], stop: Callable[[], None]) -> Iterator[Iterator[bytes]]:
    """Run through blocks in a thread, a bounded number of them ahead.

    An error of ``blocks`` is raised where the block would have come. Leaving the context ends the thread; ``stop``
    is called for that, and has to wake the thread up if it waits for a block.
    """
    # In C, unlike queue.Queue, whose lock an interrupt can leave locked.
    ahead: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
    room: queue.SimpleQueue[None] = queue.SimpleQueue()  # an item for each block that may come
    over: list[bool] = []
    for _ in range(_BLOCKS):
        room.put(None)

    def fetch() -> None:
        try:
            for block in blocks:
                room.get()
                if over:
                    return
                ahead.put(block)
        except BaseException as error:  # noqa: BLE001  # raised in the other thread
            ahead.put(error)
        else:
            ahead.put(None)

    def received() -> Iterator[bytes]:
        while (item := ahead.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            room.put(None)

    thread = threading.Thread(target=fetch, name="carto-prefetch", daemon=True)
    try:
        thread.start()
        yield received()
    finally:
        over.append(True)
        room.put(None)
        if thread.is_alive():
            stop()
        while thread.is_alive():
            thread.join(0.01)
