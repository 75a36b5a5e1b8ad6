"""The published cartoframes 1.2.5 works with the embedded server, also its publications."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import cartoframes_lite.local

# It needs Python 3.11 with pandas 1, geopandas 0.13, shapely 1.8 and jinja2 2, and so an environment of its own.
PYTHON = Path(os.environ.get("CARTOFRAMES_PYTHON", ""))


@pytest.mark.skipif(not PYTHON.is_file(), reason="CARTOFRAMES_PYTHON does not name a Python with cartoframes 1.2.5")
def test_cartoframes_runs_its_guides() -> None:
    script = Path(__file__).parent / "cartoframes_session.py"
    with cartoframes_lite.local.start(user="tester", api_key="master-1234") as server:
        arguments = [f"{server.base_url}/", "master-1234"]
        done = subprocess.run([PYTHON, script, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line.removeprefix("done: ") for line in done.stdout.splitlines() if line.startswith("done: ")]
    assert steps == ["write_and_read", "tables", "publications"]
