from __future__ import annotations

import io
import subprocess
import sys
import time
from contextlib import redirect_stderr

import pytest

from cartoframes_lite._client.http import progress as module
from cartoframes_lite._client.http.progress import Progress


def shown(show: bool | None, pause_s: float = 0.0) -> str:
    with redirect_stderr(io.StringIO()) as output:
        with Progress("reading", show) as bar:
            assert list(bar.count_bytes([b"x" * 1000])) == [b"x" * 1000]
            bar.count_rows(1234)
            time.sleep(pause_s)
            list(bar.count_bytes([b"x" * 1000]))
        return output.getvalue()


def test_progress_true_shows_a_bar_immediately() -> None:
    assert "reading" in shown(True)
    assert shown(False) == ""
    assert shown(None) == ""


def test_the_progress_bar_appears_with_bytes_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DELAY_S", 0.1)
    text = shown(None, pause_s=0.3)
    assert "2.00kB" in text
    assert "1,234 rows" in text


def test_the_environment_can_disable_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")  # tqdm looks at it when it is imported
    program = """
from cartoframes_lite._client.http import progress
progress._DELAY_S = 0
for show in (None, True):
    with progress.Progress(f"shown {show}", show) as bar:
        list(bar.count_bytes([b"x"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "shown True" in done.stderr
    assert "shown None" not in done.stderr
