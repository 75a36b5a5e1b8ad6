"""Streams into files that appear only when they are complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

TAIL_BYTES = 1 << 16


def write_blocks(path: str | os.PathLike[str], blocks: Iterable[bytes], *, check: Callable[[bytes], None]) -> int:
    """Write blocks to a file that takes its name in the end.

    Parameters
    ----------
    path : path
        An existing file is replaced.
    blocks : iterable of bytes
    check : callable
        Is given the last 64 KB, and raises if they show that the file is not what was asked for.

    Returns
    -------
    int
        Size of the file in bytes.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            size, tail = 0, b""
            for block in blocks:
                size += file.write(block)
                tail = (tail + block)[-TAIL_BYTES:]
        check(tail)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return size
