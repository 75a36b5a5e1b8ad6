"""Progress bars for operations that take longer than two seconds; they leave nothing behind."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from importlib import import_module
from types import TracebackType
from typing import Any, Literal, Self

from tqdm import TqdmWarning

with warnings.catch_warnings():
    # Without ipywidgets, tqdm warns in notebooks and shows a text bar, which is good enough.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

_DELAY_S = 2.0
_TICK_S = 0.5
_HAS_WIDGETS = any(base.__name__ == "tqdm_notebook" for base in tqdm.__mro__)

_log = logging.getLogger("cartoframes_lite")


class _CellOutput:
    """An output of a notebook's cell that is emptied at the end, also in the file of the notebook."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, item: object, *, raw: bool) -> None:
        if self._handle is None:
            self._handle = import_module("IPython.display").display(item, raw=raw, display_id=True)
        else:
            self._handle.update(item, raw=raw)

    def clear(self) -> None:
        if self._handle is not None:
            self._handle.update({}, raw=True)
            self._handle = None


class _TextOutput(io.TextIOBase):
    """Where tqdm writes a bar of text in a notebook: stderr would be red, and keep a blank line."""

    encoding = "utf-8"

    def __init__(self, output: _CellOutput) -> None:
        self._output = output

    def write(self, text: str) -> int:
        if text.startswith("\r"):  # anything else moves the cursor to other lines, which the output does not have
            if shown := text.strip("\r "):
                self._output.show({"text/plain": shown}, raw=True)
            else:
                self._output.clear()
        return len(text)


def _new_bar(show: bool | None, started: float, **options: Any) -> Any:
    """Create a bar that began at ``started``; with ``show=None``, TQDM_DISABLE in the environment can disable it."""
    ipython = sys.modules.get("IPython")
    output = _CellOutput()
    if _HAS_WIDGETS:
        options["display"] = False
    elif ipython and hasattr(ipython.get_ipython(), "kernel"):
        options["file"] = _TextOutput(output)
    if show is not None:
        options["disable"] = not show
    elif os.environ.get("TQDM_DISABLE"):  # which tqdm ignores for widgets
        options["disable"] = True
    bar: Any = tqdm(leave=False, delay=1e-9, **options)  # the delay: drawn by refresh or update, not here
    if not bar.disable:
        if _HAS_WIDGETS:
            output.show(bar.container, raw=False)
            bar.displayed, bar.cell_output = True, output
        bar.start_t -= time.monotonic() - started
        bar.last_print_t = bar.start_t
    return bar


def _close(bar: Any) -> None:
    """Remove a bar, also if it is not at its end, where tqdm would leave a widget in red."""
    if bar is not None:
        bar.total = None
        bar.close()
        if hasattr(bar, "cell_output"):
            bar.cell_output.clear()


class _Bar:
    """Bar that is created after a delay, and removed when the context is left."""

    def __init__(self, show: bool | None) -> None:
        self._show, self._started = show, time.monotonic()
        self._bar: Any = None

    def _is_due(self) -> bool:
        """Return whether it is time to create the bar."""
        if self._bar is not None or self._show is False:
            return False
        return bool(self._show) or time.monotonic() - self._started >= _DELAY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _close(self._bar)


class Progress(_Bar):
    """Progress bar of rows or bytes: with percentage and remaining time, if the total is known.

    Parameters
    ----------
    title : str
    show : bool or None
        None: after two seconds; True: at once; False: never.
    unit : {"rows", "B"}
        What the bar counts; a bar of rows shows the number of bytes, too.
    total : int or callable, optional
        Expected number of rows or bytes. A function is called when the bar is shown; None: unknown.
    """

    def __init__(
        self,
        title: str,
        show: bool | None,
        *,
        unit: Literal["rows", "B"] = "rows",
        total: int | Callable[[], int | None] | None = None,
    ) -> None:
        super().__init__(show)
        self._title, self._unit, self._total = title, unit, total
        self._rows = self._bytes = 0
        if show:
            self._update()

    def count_bytes(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the blocks and count their bytes."""
        for block in blocks:
            self._bytes += len(block)
            self._update()
            yield block

    def count_rows(self, rows: int) -> None:
        """Add to the number of rows."""
        self._rows += rows
        self._update()

    def _update(self) -> None:
        is_new = self._is_due()
        if is_new:
            total = self._total() if callable(self._total) else self._total
            unit = "B" if self._unit == "B" else " rows"
            self._bar = _new_bar(self._show, self._started, desc=self._title, total=total, unit=unit, unit_scale=True)
        if self._bar is None or self._bar.disable:
            return
        if self._unit == "rows":
            self._bar.set_postfix_str(tqdm.format_sizeof(self._bytes, "B"), refresh=False)
        done = self._rows if self._unit == "rows" else self._bytes
        if done > (self._bar.total or done):  # the total was an estimate, or rows were sent again after a rejection
            self._bar.total = None
        self._bar.update(done - self._bar.n)
        if is_new:
            self._bar.refresh()


class Waiting(_Bar):
    """State of the server's work, and the elapsed time, updated by a thread.

    Parameters
    ----------
    title : str
    show : bool or None
        As for `Progress`.
    """

    def __init__(self, title: str, show: bool | None) -> None:
        super().__init__(show)
        self._title, self._state = title, ""
        self._done = 0
        self._total: int | None = None
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, state: str, *, done: int = 0, total: int | None = None) -> None:
        """Show the state, and how many of several steps are done."""
        with self._lock:
            self._state, self._done, self._total = state, done, total
            self._refresh()

    def __enter__(self) -> Self:
        if self._show is not False:
            # The context has the cell of a notebook that the bar belongs to.
            self._thread = threading.Thread(target=copy_context().run, args=(self._tick,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        super().__exit__(kind, error, traceback)

    def _tick(self) -> None:
        """Update the elapsed time; runs in the thread."""
        delay_s = 0.0 if self._show else _DELAY_S
        while not self._ended.wait(delay_s):
            with self._lock:
                self._refresh()
            delay_s = _TICK_S

    def _refresh(self) -> None:
        """Show the bar once it is time, with the current state."""
        if self._bar is not None and self._bar.total != self._total:
            _close(self._bar)
            self._bar = None
        if self._is_due():
            form = "{desc} [{elapsed}]" if self._total is None else "{desc} |{bar}| {n_fmt}/{total_fmt} [{elapsed}]"
            self._bar = _new_bar(self._show, self._started, bar_format=form, total=self._total)
        if self._bar is None or self._bar.disable:
            return
        self._bar.n = self._done
        self._bar.set_description_str(f"{self._title}: {self._state}" if self._state else self._title, refresh=False)
        self._bar.refresh()


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
            self._line = _new_bar(self._show, time.monotonic(), bar_format="{desc}")
        self._line.set_description_str(f"waiting for a rate limit: {text}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _close(self._line)
