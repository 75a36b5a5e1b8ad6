"""The process of the server: it ends with the one that started it, and is controlled by that one alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from psycopg.conninfo import conninfo_to_dict

import cartoframes_lite
from cartoframes_lite.local import LocalCarto, LocalServerError, Plan, start
from cartoframes_lite.local.embedded import EmbeddedServer
from cartoframes_lite.local.process import ServerProcess
from tests.cluster_template import make_template

ROOT = Path(cartoframes_lite.__file__).parents[1]
WAIT_S = 60
# What every script begins with: it starts a server and says where it is.
STARTING = """
import json, os, signal, sys, time
from cartoframes_lite import local

carto = local.start()
print(json.dumps([carto._server.pid, carto.dsn]), flush=True)
"""


def pid_of(carto: LocalCarto) -> int:
    assert isinstance(carto._server, ServerProcess)
    return carto._server.pid


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended may not have been waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.01)
    return True


def home_of(dsn: str) -> Path:
    return Path(str(conninfo_to_dict(dsn)["host"]))


def has_ended(pid: int, dsn: str) -> bool:
    """Wait until the server and its PostgreSQL have ended, which removes the directory at last."""
    return wait_until(lambda: not is_running(pid) and not home_of(dsn).exists())


def descendants(pid: int) -> set[int]:
    """Return the processes that a process has started, and so on."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@dataclass
class Script:
    """A Python program that has started a server."""

    process: subprocess.Popen[str]
    pid: int
    dsn: str


@pytest.fixture(scope="module", autouse=True)
def template() -> None:
    make_template()


@pytest.fixture
def run_script() -> Iterator[Callable[..., Script]]:
    """Run a program that starts a server, in a process group of its own."""
    running: list[subprocess.Popen[str]] = []

    def run(code: str, *flags: str, **variables: str) -> Script:
        process = subprocess.Popen(
            [sys.executable, *flags, "-c", STARTING + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
            start_new_session=True,
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        return Script(process, *json.loads(line))

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalCarto]:
    with start(user="shared") as carto:
        yield carto


def test_server_runs_in_another_process(shared: LocalCarto) -> None:
    postmaster = int((home_of(shared.dsn) / "data" / "postmaster.pid").read_text().split()[0])
    assert postmaster in descendants(pid_of(shared))
    with start(in_process=True) as carto:
        assert isinstance(carto._server, EmbeddedServer)
        postmaster = int((home_of(carto.dsn) / "data" / "postmaster.pid").read_text().split()[0])
        assert postmaster not in descendants(pid_of(shared))
        assert postmaster in descendants(os.getpid())


@pytest.mark.parametrize(
    "end",
    [
        "1 / 0",
        "os._exit(0)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.execv('/bin/true', ['true'])",
    ],
    ids=["exit", "immediate exit", "killed", "other program"],
)
def test_server_ends_with_the_process_that_started_it(run_script: Callable[..., Script], end: str) -> None:
    script = run_script(end)
    assert has_ended(script.pid, script.dsn)


@pytest.mark.parametrize("pidfd", [True, False])
def test_fork_does_not_keep_the_server_running(run_script: Callable[..., Script], pidfd: bool, tmp_path: Path) -> None:
    if not pidfd:  # as on macOS
        (tmp_path / "sitecustomize.py").write_text("import os\nif hasattr(os, 'pidfd_open'): del os.pidfd_open\n")
    script = run_script(
        """
        if (child := os.fork()) == 0:
            os.close(1), os.close(2)
            time.sleep(600)
        print(child, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    )
    assert script.process.stdout is not None
    child = int(script.process.stdout.readline())
    try:
        assert has_ended(script.pid, script.dsn)
        assert is_running(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_ended_forks_do_not_stop_the_server(run_script: Callable[..., Script]) -> None:
    script = run_script(
        """
        for end in (lambda: sys.exit(0), lambda: os._exit(0), carto.stop):
            if (child := os.fork()) == 0:
                end()
                sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
        carto.reset()
        print(carto.credentials.api_key is not None, flush=True)
        with carto:
            if os.fork() == 0:
                try:
                    carto.reset()
                except local.LocalServerError as error:
                    print(error, flush=True)
                assert carto.credentials.api_key
                sys.exit(0)
            os.wait()
            carto.reset()
        print("stopped", flush=True)
        """,
        "-Werror",
    )
    output, errors = script.process.communicate(timeout=WAIT_S)
    printed = output.splitlines()
    assert (printed[0], printed[2:], errors) == ("True", ["stopped"], "")
    assert f"only process {script.process.pid}, which started the embedded server, can control it" in printed[1]
    assert has_ended(script.pid, script.dsn)


def test_ctrl_c_does_not_stop_the_server(run_script: Callable[..., Script]) -> None:
    script = run_script(
        """
        with carto:
            try:
                print("waiting", flush=True)
                time.sleep(600)
            except KeyboardInterrupt:
                carto.reset()
                print("used", flush=True)
        """
    )
    assert script.process.stdout is not None
    assert script.process.stdout.readline() == "waiting\n"
    os.killpg(script.process.pid, signal.SIGINT)
    assert script.process.communicate(timeout=WAIT_S) == ("used\n", "")
    assert has_ended(script.pid, script.dsn)


@pytest.fixture
def temporary_directory() -> Iterator[Path]:
    """Return a directory with a path short enough for a socket, which every user can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="cfl-") as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


@pytest.mark.parametrize("delay_s", [0.01, 0.3, 0.6])
def test_interrupted_start_leaves_nothing(temporary_directory: Path, delay_s: float) -> None:
    code = f"""
        import os, signal, threading
        from cartoframes_lite import local
        threading.Timer({delay_s}, os.kill, [os.getpid(), signal.SIGINT]).start()
        try:
            local.start()
            signal.pause()
        except KeyboardInterrupt:
            print("interrupted")
    """
    environment = {**os.environ, "TMPDIR": str(temporary_directory)}
    environment.pop("CARTOFRAMES_LITE_CLUSTER_TEMPLATE", None)  # initdb takes some time, too
    command = [sys.executable, "-Werror", "-c", textwrap.dedent(code)]
    # It waits for the end of the processes, which have its standard error.
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, env=environment)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n", "", 0)
    assert wait_until(lambda: not list(temporary_directory.iterdir()))


def test_interrupted_calls_do_not_confuse_later_ones(shared: LocalCarto) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before, interrupted = signal.signal(signal.SIGALRM, interrupt), 0
    key = shared.credentials.api_key
    try:
        for number in range(20):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 * (number + 1))
                shared.reset()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            assert shared.credentials.api_key == key
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted


def test_threads_share_a_server(shared: LocalCarto) -> None:
    def use(number: int) -> str | None:
        if number % 2:
            shared.reset()
        with pytest.raises(ValueError, match=f"not -{number + 1}:"):
            shared.advance_clock(-1 - number)
        return shared.credentials.api_key

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(use, range(40)))) == 1


def test_killed_server_is_named_and_leaves_nothing() -> None:
    with start() as carto:
        pid = pid_of(carto)
        os.kill(pid, signal.SIGKILL)
        for call in (carto.reset, lambda: carto.advance_clock(1), lambda: carto.credentials):
            with pytest.raises(
                LocalServerError, match="process of the embedded server ended by SIGKILL; start another"
            ):
                call()
    assert has_ended(pid, carto.dsn)
    assert not Path(f"/proc/{pid}").exists()


def test_server_ended_by_sigterm_cleans_up() -> None:
    with start() as carto:
        os.kill(pid_of(carto), signal.SIGTERM)
        assert has_ended(pid_of(carto), carto.dsn)
        with pytest.raises(LocalServerError, match="ended with exit status 0"):
            carto.reset()


@pytest.mark.parametrize("in_process", [False, True])
def test_stopped_server_cannot_be_used(in_process: bool) -> None:
    with start(api_key="kept", in_process=in_process) as carto:
        pass
    carto.stop()
    assert carto.credentials.api_key == "kept"
    for call in (carto.reset, lambda: carto.advance_clock(1)):
        with pytest.raises(LocalServerError, match="the embedded server is stopped; start another"):
            call()


def test_regenerated_master_key_is_in_the_credentials(shared: LocalCarto) -> None:
    old = shared.credentials.api_key
    url = f"{shared.base_url}/api/v3/api_keys/Master/token/regenerate"
    requests.post(url, params={"api_key": old}, timeout=WAIT_S).raise_for_status()
    assert shared.credentials.api_key != old
    requests.get(f"{shared.base_url}/api/v3/api_keys", auth=("shared", str(shared.credentials.api_key)), timeout=WAIT_S)


def test_secrets_are_not_visible_to_ps() -> None:
    with start(api_key="secret-key-1234", plan=Plan(rows=123_454_321)) as carto:
        for pid in {pid_of(carto), *descendants(pid_of(carto))}:
            for name in ("cmdline", "environ"):
                content = Path(f"/proc/{pid}/{name}").read_bytes()
                assert b"secret-key-1234" not in content
                assert b"123454321" not in content


def test_nothing_is_left_open_in_this_process() -> None:
    with start():
        pass
    files, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
    with start() as carto:
        assert threading.active_count() == threads
    assert set(os.listdir("/proc/self/fd")) == files
    assert not Path(f"/proc/{pid_of(carto)}").exists()


ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"dsn": "host=/nonexistent"}, LocalServerError, "cannot connect to the database: "),
    ({"data_dir": "/dev/null/data"}, NotADirectoryError, "Not a directory: '/dev/null/data/PG_VERSION'"),
    ({"plan": Plan(rate_limits={"query": 1})}, TypeError, "object is not"),  # type: ignore[dict-item]  # the mistake
]


@pytest.mark.parametrize(("arguments", "kind", "message"), ERRORS, ids=["dsn", "data_dir", "plan"])
@pytest.mark.parametrize("in_process", [False, True])
def test_errors_of_a_start_are_the_same(
    arguments: dict[str, Any], kind: type[Exception], message: str, in_process: bool
) -> None:
    with pytest.raises(kind, match=message) as caught:
        start(**arguments, in_process=in_process)
    assert caught.type is kind


def test_unexpected_errors_show_the_traceback_of_the_server(shared: LocalCarto) -> None:
    with start(dsn=shared.dsn, user="other") as carto:
        with psycopg.connect(shared.dsn, autocommit=True) as connection:
            connection.execute("ALTER TABLE cartodb_local.api_keys RENAME TO renamed")
            try:
                with pytest.raises(LocalServerError, match="UndefinedTable: ") as caught:
                    carto.reset()
            finally:
                connection.execute("ALTER TABLE cartodb_local.renamed RENAME TO api_keys")
        assert "psycopg.errors.UndefinedTable" in caught.value.__notes__[0]
        carto.reset()


def test_server_logs_errors_to_standard_error(run_script: Callable[..., Script]) -> None:
    script = run_script(
        """
        import urllib.request, urllib.error, psycopg
        with psycopg.connect(carto.dsn, autocommit=True) as connection:
            connection.execute("ALTER SCHEMA cartodb_local RENAME TO renamed")
        key = carto.credentials.api_key
        for number in range(200):  # more than a pipe holds
            try:
                urllib.request.urlopen(f"{carto.base_url}/api/v1/viz?api_key={key}&n={number}")
            except urllib.error.HTTPError as error:
                assert error.code == 500
                error.close()
        """,
        "-Werror",
    )
    output, errors = script.process.communicate(timeout=WAIT_S)
    assert output == ""
    assert errors.count("GET /api/v1/viz failed") == 200
    assert "psycopg.errors." in errors
    assert "api_key=" not in errors
    assert has_ended(script.pid, script.dsn)


def test_closed_standard_error_does_no_harm(run_script: Callable[..., Script]) -> None:
    script = run_script(
        """
        carto.stop()
        os.close(0), os.close(2)
        with local.start() as carto:
            carto.reset()
            print(carto.credentials.api_key is not None)
        """
    )
    assert script.process.communicate(timeout=WAIT_S)[0] == "True\n"


def test_package_is_found_on_the_path_of_the_caller(tmp_path: Path) -> None:
    package = tmp_path / "copied" / "cartoframes_lite"
    shutil.copytree(ROOT / "cartoframes_lite", package, ignore=shutil.ignore_patterns("__pycache__"))
    cluster = package / "local" / "postgres" / "cluster.py"
    cluster.write_text(cluster.read_text().replace('DATABASE = "carto"', 'DATABASE = "copied"'))
    code = f"""
        import sys
        sys.path[:] = [{str(package.parent)!r}, *{[path for path in sys.path if path != str(ROOT)]!r}]
        from cartoframes_lite import local
        with local.start() as carto:
            print(carto.dsn)
    """
    command = [sys.executable, "-I", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    assert done.stderr == ""
    assert conninfo_to_dict(done.stdout.strip())["dbname"] == "copied"


def test_modules_of_the_folder_are_not_imported(tmp_path: Path) -> None:
    for name in ("importlib", "socket", "psycopg", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the folder')")
    path = [entry for entry in sys.path if entry]
    code = (
        f"import sys; sys.path[:] = {path!r}; from cartoframes_lite import local; local.start().stop(); print('used')"
    )
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("used\n", "")


@pytest.mark.parametrize("executable", ["", None])
def test_unknown_interpreter_runs_the_server_here(executable: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with start() as carto:
        assert isinstance(carto._server, EmbeddedServer)


def test_interpreter_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(LocalServerError, match="ended with exit status 1"):
        start()


def test_missing_interpreter_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(LocalServerError, match="cannot start /nonexistent/python: No such file or directory"):
        start()


def test_server_does_without_pandas(shared: LocalCarto) -> None:
    loaded = Path(f"/proc/{pid_of(shared)}/maps").read_text()
    assert "/pyogrio/" in loaded
    assert "/pandas/" not in loaded
