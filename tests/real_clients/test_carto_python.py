"""The published SDK, carto 1.11.3, works with the embedded server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import cartoframes_lite.local
from tests.http_servers import FileServer

# It needs setuptools < 82, and so an environment of its own; the README's test command makes it.
PYTHON = Path(os.environ.get("CARTO_PYTHON", Path(__file__).parents[2] / ".venv-carto-python/bin/python"))


@pytest.mark.skipif(not PYTHON.exists(), reason=f"no environment with carto 1.11.3 at {PYTHON}: see the README")
def test_the_sdk_runs_its_readme(tmp_path: Path, file_server: FileServer) -> None:
    (tmp_path / "places.csv").write_text("name,latitude,longitude\na,1,2\nb,3,4\nc,5,6\n")
    file_server.files["/source.csv"] = b"name,n\na,1\nb,2\n"
    script = Path(__file__).parent / "carto_python_session.py"
    with cartoframes_lite.local.start(user="tester", api_key="1234") as server:
        arguments = [f"{server.base_url}/", "1234", str(tmp_path), f"{file_server.url}/source.csv"]
        done = subprocess.run([PYTHON, script, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = "sql copy batch datasets imports syncs users api_keys visualizations maps kuvizs anonymous"
    assert done.stdout.split() == steps.split()
