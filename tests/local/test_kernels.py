"""The server ends with the Jupyter kernel that started it, however that ends."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests import kernels

_START = """
import json
from pathlib import Path
from psycopg.conninfo import conninfo_to_dict
import cartoframes_lite as cfl

server = cfl.local.start(data_dir={data_dir!r})
home = Path(conninfo_to_dict(server.dsn)["host"])
data = Path({data_dir!r} or home / "data")
pid = int((data / "postmaster.pid").read_text().split()[0])
print(json.dumps([pid, str(home), server.base_url]))
"""


def run(manager: KernelManager, source: str) -> str:
    """Execute code in a kernel, and return what it prints."""
    client: BlockingKernelClient = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        printed: list[str] = []

        def collect(message):
            content = message["content"]
            printed.append(content.get("text", "") + "".join(content.get("traceback", [])))

        client.execute_interactive(source, timeout=kernels.CELL_TIMEOUT_S, output_hook=collect)
        return "".join(printed)
    finally:
        client.stop_channels()


def has_ended(pid: int, home: str) -> bool:
    """Wait until PostgreSQL has ended and its directory is removed."""
    deadline = time.monotonic() + 30
    while (is_running(pid) or Path(home).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid) and not Path(home).exists()


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("now", [False, True], ids=["shut_down", "killed"])
def test_the_server_ends_with_its_kernel(now: bool, tmp_path: Path) -> None:
    manager = kernels.start(tmp_path)
    try:
        pid, home, _ = json.loads(run(manager, _START.format(data_dir=None)))
        manager.interrupt_kernel()
        assert "[1]" in run(manager, "print(list(cfl.read_carto('SELECT 1 AS n', server.credentials)['n']))")
        assert is_running(pid)
    finally:
        manager.shutdown_kernel(now=now)
    assert has_ended(pid, home)


def test_errors_of_the_server_appear_in_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it, a kernel does not capture the output of its subprocesses
    source = """
import psycopg, requests
import cartoframes_lite as cfl

with cfl.local.start() as server:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("ALTER SCHEMA cartodb_local RENAME TO renamed")
    assert requests.get(server.base_url + "/api/v1/viz", auth=("local", server.credentials.api_key)).status_code == 500
"""
    shown = {output["name"]: output["text"] for output in kernels.outputs(source, tmp_path)}
    assert list(shown) == ["stderr"]
    assert "GET /api/v1/viz failed" in shown["stderr"]
    assert "Traceback" in shown["stderr"]


@pytest.mark.slow
def test_a_restarted_kernel_starts_the_server_again(tmp_path: Path) -> None:
    manager = kernels.start(tmp_path)
    start = _START.format(data_dir=str(tmp_path / "account"))
    try:
        first, first_home, _ = json.loads(run(manager, start))
        run(manager, "cfl.execute('CREATE TABLE kept AS SELECT 1 AS n', credentials=server.credentials)")
        manager.restart_kernel(now=True)
        second, second_home, _ = json.loads(run(manager, start))
        assert has_ended(first, first_home)
        assert "[1]" in run(manager, "print(list(cfl.read_carto('kept', server.credentials)['n']))")
    finally:
        manager.shutdown_kernel(now=True)
    assert has_ended(second, second_home)
