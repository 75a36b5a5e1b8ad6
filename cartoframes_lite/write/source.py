"""The rows of one write: a frame, or an iterable of frames, as payloads that can be iterated again for a retry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import cast

import pandas as pd

from cartoframes_lite.errors import ConnectionFailed, ConversionError
from cartoframes_lite.write.arrow_frames import ArrowStream, frames_of, is_arrow
from cartoframes_lite.write.columns import names_of
from cartoframes_lite.write.model import for_several_frames
from cartoframes_lite.write.payload import Payload
from cartoframes_lite.write.plan import WritePlan
from cartoframes_lite.write.prepare import PreparedFrame

# Frames of an iterator that are kept for a retry. A rejected request usually fails before this much is sent.
_MAX_BUFFERED_BYTES = 256 << 20


class RowSource:
    """Payloads of a frame, or of all frames of an iterable.

    Frames of an iterator are kept up to a limit of memory; once it is exceeded, iterating again raises.

    Attributes
    ----------
    columns : tuple of Column
        Columns of the first frame, as all frames can be sent.
    renamed : mapping of label to str
        Names in the table of the columns of the first frame whose labels differ.
    rows : int or None
        Number of all rows, if it is known.
    failure : BaseException or None
        Exception raised by the iterable.
    may_be_slow : bool
        Whether the frames may come more slowly than the network takes them.
    """

    def __init__(
        self,
        frames: pd.DataFrame | Iterable[pd.DataFrame],
        prepare: Callable[..., PreparedFrame],
        *,
        rows: int | None = None,
    ) -> None:
        """Check the first frame; the others are checked when they are sent."""
        self.rows = rows
        is_single = isinstance(frames, pd.DataFrame)
        if not isinstance(frames, Iterable):
            raise TypeError(
                f"dataframe must be a DataFrame, a GeoDataFrame or an iterable of them, not {type(frames).__name__}"
            )
        self.may_be_slow = not isinstance(frames, pd.DataFrame | list | tuple)
        self._remaining = _prepared((frames,) if isinstance(frames, pd.DataFrame) else frames, prepare)
        first = next(self._remaining, None)
        if first is None:
            raise ValueError("dataframe is an empty iterable: pass at least one frame, which determines the columns")
        self.columns = first.columns if is_single else for_several_frames(first.columns)
        self.renamed = first.renamed
        self.failure: BaseException | None = None
        self._buffered, self._buffered_bytes = [first], 0

    def check(self, plan: WritePlan) -> None:
        """Check that a plan can convert all values of the first frame; nothing is kept."""
        if not self._buffered:
            return
        first = self._buffered[0]
        checked = names_of(column for column in first.columns if plan.may_refuse(column))
        if checked:
            for payload in first.payloads(checked):
                plan.cast(payload)

    def __iter__(self) -> Iterator[Payload]:
        if not self._buffered:
            raise ConnectionFailed(
                "the upload failed and could not be retried, since the frames of an iterator are consumed: call"
                " to_carto again with a new iterator"
            )
        if self.failure is not None:  # a generator that has raised is exhausted: it would look complete
            raise self.failure
        for frame in tuple(self._buffered):
            yield from frame.payloads()
        while (later := self._next()) is not None:
            yield from later.payloads()

    def _next(self) -> PreparedFrame | None:
        """Return the next frame, and keep it for a retry within the limit of memory."""
        try:
            frame = next(self._remaining, None)
        except BaseException as error:
            self.failure = error
            raise
        if frame is not None and self._buffered:
            self._buffered_bytes += frame.size_bytes
            if self._buffered_bytes > _MAX_BUFFERED_BYTES:
                self._buffered.clear()
            else:
                self._buffered.append(frame)
        return frame


def _prepared(
    frames: Iterable[pd.DataFrame], prepare: Callable[[pd.DataFrame], PreparedFrame]
) -> Iterator[PreparedFrame]:
    """Check the frames of an iterable; errors of all but the first begin with the number of the frame."""
    for number, item in enumerate(frames):
        try:
            for frame in frames_of(cast(ArrowStream, item)) if is_arrow(item) else (item,):
                yield replace(prepare(frame), origin=f"frame {number}" if number else "")
        except ConversionError as error:
            if number == 0:
                raise
            raise ConversionError(f"frame {number}: {error}") from error
