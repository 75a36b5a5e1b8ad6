"""Files to be sent: opened as often as needed, measured, and named so that the server knows their type."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 1 << 20

File = str | os.PathLike[str] | BinaryIO


class SizedReader:
    """A file that knows how much of it is left; its descriptor may be that of something else, as of a gzip file.

    Parameters
    ----------
    file : binary file
        At its beginning.

    Attributes
    ----------
    len : int
        Bytes that are left to read; the name is what the encoder of multipart bodies looks for.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.len = _size(file)

    def read(self, size: int = -1) -> bytes:
        """Read some bytes, or all that are left."""
        block = self._file.read(size)
        self.len -= len(block)
        return block


@dataclass(frozen=True, slots=True)
class UploadSource:
    """A file to be imported.

    Attributes
    ----------
    open : callable
        Gives a context with the file, measured, at its beginning.
    file_name : str
        The name of the file; its ending says its type.
    table_name : str or None
        The name that the table is to have; None: after the file.
    """

    open: Callable[[], AbstractContextManager[SizedReader]]
    file_name: str
    table_name: str | None

    @classmethod
    def of(cls, file: File, name: str | None) -> UploadSource:
        """Look at a path or a file object.

        Raises
        ------
        OSError
            If the file cannot be read.
        TypeError, ValueError
            If it is no binary file, cannot be rewound, or nothing says what type it has.
        """
        if isinstance(file, str | os.PathLike):
            path = Path(file)
            path.open("rb").close()  # an error of the file system comes before anything is sent
            return cls(lambda: _opened(path), *_names(path.name, name))
        if isinstance(file, io.TextIOBase) or not hasattr(file, "read"):
            raise TypeError(f"expected a path or a file opened in binary mode, got {type(file).__name__}")
        if not file.seekable():
            raise ValueError(
                "the file cannot be rewound, so it could not be sent again: pass io.BytesIO(file.read()) or a path"
            )
        own = getattr(file, "name", None)
        file_name, table_name = _names(Path(own).name if isinstance(own, str) else "", name)
        if not Path(file_name).suffix:
            raise ValueError(
                f"a file object needs a name with an ending that says its type: name='x.csv', not {name!r}"
            )
        return cls(lambda: _rewound(file), file_name, table_name)


@contextmanager
def _opened(path: Path) -> Iterator[SizedReader]:
    with path.open("rb") as file:
        yield SizedReader(file)


@contextmanager
def _rewound(file: BinaryIO) -> Iterator[SizedReader]:
    """Give a file of the caller's from its beginning, and leave it open."""
    file.seek(0)
    yield SizedReader(file)


def _size(file: BinaryIO) -> int:
    """Measure a file that is at its beginning."""
    try:
        size = file.seek(0, io.SEEK_END)
    except (OSError, ValueError):  # a packed file does not know its length
        size = sum(map(len, iter(lambda: file.read(_BLOCK_BYTES), b"")))
    file.seek(0)
    return size


def _names(file_name: str, name: str | None) -> tuple[str, str | None]:
    """Choose the name of the file and that of the table; ``name`` may have the ending that the file lacks."""
    if name is None:
        return file_name, None
    ending = Path(file_name).suffix
    if not ending:
        return name, None
    return file_name, name[: -len(ending)] if name.lower().endswith(ending.lower()) else name
