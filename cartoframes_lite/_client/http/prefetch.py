"""Download in a thread while earlier blocks are being decoded."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cartoframes_lite.errors import ConnectionFailed

_BLOCKS = 64  # of about 256 KB: enough to keep both threads busy in bounded memory


@contextmanager
def prefetched(blocks: Iterator[bytes], stop: Callable[[], None]) -> Iterator[Iterator[bytes]]:
    """Iterate stopped blocks in a thread, a bounded number of blocks ahead.

    An exception of ``blocks`` is raised in place of the block. Leaving the context ends the thread: ``stop`` is called
    and must wake the thread if it waits for a block. A fork, which does not have the thread, gets ConnectionFailed.
    """
    starter = os.getpid()
    # SimpleQueue is written in C; an interrupt in queue.Queue could leave its lock acquired.
    ahead: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
    free_slots: queue.SimpleQueue[None] = queue.SimpleQueue()  # one item per free slot
    stopped: list[bool] = []
    for _ in range(_BLOCKS):
        free_slots.put(None)

    def fetch() -> None:
        try:
            for block in blocks:
                free_slots.get()
                if stopped:
                    return
                ahead.put(block)
        except BaseException as error:  # noqa: BLE001  # raised in the other thread
            ahead.put(error)
        else:
            ahead.put(None)

    def next_item() -> bytes | BaseException | None:
        if os.getpid() != starter:
            raise ConnectionFailed(
                f"process {os.getpid()} is a fork: only process {starter} receives the rest of this read; read again"
            )
        return ahead.get()

    def received() -> Iterator[bytes]:
        while (item := next_item()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            free_slots.put(None)

    thread = threading.Thread(target=fetch, name="carto-prefetch", daemon=True)
    try:
        thread.start()
        yield received()
    finally:
        stopped.append(True)
        free_slots.put(None)
        if thread.is_alive():
            stop()
        while thread.is_alive():
            thread.join(0.01)
