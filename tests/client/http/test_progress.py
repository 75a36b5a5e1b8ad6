from __future__ import annotations

import io
import subprocess
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from cartoframes_lite._client.http import progress as module
from cartoframes_lite._client.http.progress import Progress, Waiting
from tests import kernels


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
    assert "1.23k rows" in text


def lines(output: str) -> list[str]:
    return [line.strip() for line in output.split("\r") if line.strip()]


def test_known_rows_are_shown_with_percentage_and_remaining_time() -> None:
    with redirect_stderr(io.StringIO()) as output, Progress("writing", True, total=2000) as bar:
        bar._bar.mininterval = 0
        bar.count_rows(500)
        time.sleep(0.02)
        list(bar.count_bytes([b"x" * 1000]))
        bar.count_rows(500)
    assert "writing:  50%" in lines(output.getvalue())[-1]
    assert "1.00k/2.00k" in lines(output.getvalue())[-1]
    assert "<00:0" in lines(output.getvalue())[-1]


def test_too_small_estimates_are_dropped() -> None:
    with redirect_stderr(io.StringIO()) as output, Progress("reading", True, total=lambda: 10) as bar:
        bar._bar.mininterval = 0
        bar.count_rows(500)
    assert "%" in lines(output.getvalue())[0]
    assert "%" not in lines(output.getvalue())[-1]


def test_totals_are_requested_only_for_visible_bars() -> None:
    requested: list[str] = []

    def total() -> None:
        requested.append("rows")

    for show in (None, False):
        with Progress("reading", show, total=total) as bar:
            bar.count_rows(1)
    assert requested == []


def test_bars_leave_nothing_behind() -> None:
    with redirect_stderr(io.StringIO()) as output:
        with Progress("writing", True, total=1000) as bar:
            bar.count_rows(10)
        with Waiting("publishing", True) as waiting:
            waiting.say("running")
    assert "writing" in output.getvalue()
    assert "publishing: running [00:00]" in output.getvalue()
    for end in output.getvalue().split("publishing")[0], output.getvalue():
        assert end.rpartition("\r")[2].strip() == ""
        assert end.endswith("\r")
        assert end.split("\r")[-2].strip() == ""


def test_waiting_is_shown_without_news_of_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DELAY_S", 0.05)
    monkeypatch.setattr(module, "_TICK_S", 0.05)
    output = io.StringIO()
    with redirect_stderr(output), Waiting("publishing", None):
        deadline = time.monotonic() + 10
        while output.getvalue().count("publishing") < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert output.getvalue().count("publishing [00:0") >= 3


def test_steps_of_a_job_are_shown_as_a_bar() -> None:
    with redirect_stderr(io.StringIO()) as output, Waiting("batch job", True) as waiting:
        waiting.say("running", done=1, total=4)
    assert "batch job: running |" in output.getvalue()
    assert "1/4" in output.getvalue()


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


_BARS = """
import time
from cartoframes_lite._client.http.progress import Progress, Waiting

with Progress("writing", True, total=1000) as bar:
    bar.count_rows(10)  # fewer than the total, which tqdm shows in red
    time.sleep(0.2)
    bar.count_rows(10)
with Waiting("publishing", True) as waiting:
    waiting.say("running")
print("written")
"""


def test_bars_leave_nothing_behind_in_notebooks(tmp_path: Path) -> None:
    *bars, printed = kernels.outputs(_BARS, tmp_path)
    assert [(bar.output_type, bar.data) for bar in bars] == [("display_data", {})] * 2
    assert (printed.name, printed.text) == ("stdout", "written\n")


def test_the_environment_disables_bars_in_notebooks(tmp_path: Path) -> None:
    source = _BARS.replace("True", "None").replace("time.sleep(0.2)", "time.sleep(2.1)")
    assert [output.output_type for output in kernels.outputs(source, tmp_path, TQDM_DISABLE="1")] == ["stream"]


def test_bars_without_ipywidgets_are_text(tmp_path: Path) -> None:
    begin = "import sys\nsys.modules['ipywidgets'] = None\n"
    end = "waiting = Waiting('publishing', True)\nwaiting.say('running')\ntime.sleep(0.2)\nwaiting.say('done')\n"
    *bars, printed, left_open = kernels.outputs(begin + _BARS + end, tmp_path)
    assert [(bar.output_type, bar.data) for bar in bars] == [("display_data", {})] * 2
    assert (printed.name, printed.text) == ("stdout", "written\n")
    assert left_open.data == {"text/plain": "publishing: done [00:00]"}
