"""Progress bars for operations that take longer than two seconds."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from tqdm import TqdmWarning

with warnings.catch_warnings():
    # Without ipywidgets, tqdm warns in notebooks and shows a text bar, which is good enough.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

_DELAY_S = 2.0

_log = logging.getLogger("cartoframes_lite")


def _tqdm_options(show: bool | None) -> dict[str, Any]:
    """Return tqdm arguments for ``show``; with None, TQDM_DISABLE in the environment can disable the bar."""
    return {"delay": _DELAY_S} if show is None else {"delay": 0, "disable": not show}


class _Bar:
    """Progress bar that is removed when the context is left."""

    _bar: Any

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()


class Progress(_Bar):
    """Progress bar of bytes, with the number of rows.

    Parameters
    ----------
    title : str
    show : bool or None
        None: after two seconds; True: at once; False: never.
    total_bytes : int, optional
        Expected number of bytes, if known.
    """

    def __init__(self, title: str, show: bool | None, *, total_bytes: int | None = None) -> None:
        self._rows = 0
        self._bar = tqdm(
            desc=title,
            total=total_bytes,
            unit="B",
            unit_scale=True,
            leave=False,
            **_tqdm_options(show),
        )

    def count_bytes(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the blocks and count their bytes."""
        for block in blocks:
            self._bar.update(len(block))
            yield block

    def count_rows(self, rows: int) -> None:
        """Add to the number of rows."""
        self._rows += rows
        self._bar.set_postfix_str(f"{self._rows:,} rows", refresh=False)


class Waiting(_Bar):
    """State of a remote job, and the elapsed time.

    Parameters
    ----------
    title : str
    show : bool or None
        As for `Progress`.
    """

    def __init__(self, title: str, show: bool | None) -> None:
        self._bar = tqdm(
            desc=title,
            bar_format="{desc}{postfix} [{elapsed}]",
            leave=False,
            **_tqdm_options(show),
        )

    def say(self, state: str) -> None:
        """Show the state."""
        self._bar.set_postfix_str(state, refresh=False)
        self._bar.update()


class RateLimitNotice:
    """Report that a request waits for a rate limit: once in the log, and in a line in place of a progress bar.

    Parameters
    ----------
    request : str
        Name of the request in the log.
    show : bool or None
        None: show waits of two seconds or more; True: all; False: none.
    """

    def __init__(self, request: str, show: bool | None) -> None:
        self._request, self._show = request, show
        self._line: Any = None
        self._logged = False

    def say(self, seconds: float, text: str) -> None:
        """Report a wait, or an updated estimate."""
        if not self._logged:  # only once, the estimate changes often
            _log.info("%s waits for a rate limit: %s", self._request, text)
            self._logged = True
        if self._show is False or (self._show is None and self._line is None and seconds < _DELAY_S):
            return
        if self._line is None:
            self._line = tqdm(bar_format="{desc}", leave=False)
        self._line.set_description_str(f"waiting for a rate limit: {text}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.close()
