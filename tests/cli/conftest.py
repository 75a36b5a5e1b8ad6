"""Fixtures that run commands, in this process or as a process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cartoframes_lite.cli.parser import main
from cartoframes_lite.credentials import Credentials

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(credentials: Credentials, tmp_path: Path) -> dict[str, str]:
    """Give the environment of the processes: with the credentials, and without credentials files."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CARTO_")}
    return {
        **kept,
        "CARTO_API_URL": str(credentials.base_url),
        "CARTO_API_KEY": str(credentials.api_key),
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


@pytest.fixture
def run_process(environment: dict[str, str], tmp_path: Path) -> Run:
    """Give a function that runs a command as a process, in an empty directory, and checks its exit code."""

    def call(*arguments: object, code: int = 0, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "cartoframes_lite", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env={**environment, **variables}, input=stdin, capture_output=True, text=True
        )
        return _checked(done, code, environment)

    return call


@pytest.fixture
def run(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Give a function as ``run_process`` does, which runs the command in this process: a new one takes seconds."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, code: int = 0, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name, value in {**environment, **variables}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            try:
                returned = main(list(map(str, arguments)))
            except SystemExit as stop:
                returned = int(stop.code or 0)
        shown = capsys.readouterr()
        return _checked(subprocess.CompletedProcess([], returned, shown.out, shown.err), code, environment)

    return call


def _checked(
    done: subprocess.CompletedProcess[str], code: int, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Check the exit code, and that the output does not contain the key."""
    assert done.returncode == code, done.stdout + done.stderr
    assert environment["CARTO_API_KEY"] not in done.stdout + done.stderr
    return done
