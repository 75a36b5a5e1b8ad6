"""Several faults in one write, drawn at random: a trial with a number has the same faults each time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cartoframes_lite.local import LocalCarto, start
from cartoframes_lite.local.embedded import EmbeddedServer
from cartoframes_lite.write import staging_names
from tests.cluster_template import make_template
from tests.fault_proxy import Fault, FaultProxy
from tests.faults.test_order import CLIENT_OUTCOMES, delayed
from tests.faults.test_responses import WRONG
from tests.faults.write_trials import Trial, few_modes_unless_long, record
from tests.faults.written_tables import Database

STEPS_S = (90.0, -90.0, 25 * 3600.0, -25 * 3600.0, 10 * 365 * 86400.0)
PAUSE_S = 0.2


class OtherWriter:
    """A process that drops stale staging tables on request; its lock files are those of this machine, or copies."""

    def __init__(self, carto: LocalCarto, folder: str | None) -> None:
        command = [sys.executable, Path(__file__).with_name("other_writer.py"), carto.base_url]
        environment = os.environ if folder is None else {**os.environ, "XDG_RUNTIME_DIR": folder}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._copies = None if folder is None else Path(folder, staging_names._folder().name)
        self._say(str(carto.credentials.api_key))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def write(self) -> None:
        """Write, and sweep what no write uses any more."""
        if self._copies is not None:  # a clone of the disk
            self._copies.mkdir(exist_ok=True)
            for path in staging_names._folder().glob("*.lock"):
                (self._copies / path.name).write_bytes(path.read_bytes())
        self._say("")
        assert self._process.stdout is not None
        assert self._process.stdout.readline()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Surroundings:
    """What happens beside the network, each at the moment of a request."""

    def __init__(self, carto: LocalCarto, database: Database, folder: str, patch: pytest.MonkeyPatch) -> None:
        self._carto, self._database, self._step_s = carto, database, 0.0
        self._others = [OtherWriter(carto, None), OtherWriter(carto, folder)]
        self._later: list[threading.Thread] = []
        now = time.time
        patch.setattr(time, "time", lambda: now() + self._step_s)
        self.actions: list[Callable[[random.Random], None]] = [
            self._clean_up,
            self._expire,
            self._sweep,
            self._step,
            self._restart,
            self._exhaust,
            self._hold_lock,
            self._time_out,
        ]

    def _clean_up(self, chance: random.Random) -> None:
        self._database.drop_staging()

    def _expire(self, chance: random.Random) -> None:
        """Let all leases run out, as if the clock of the database had gone on by a day; then others sweep."""
        for name in self._database.leftovers():
            self._database.connection.execute(f'COMMENT ON TABLE public."{name}" IS NULL')
        self._sweep(chance)

    def _sweep(self, chance: random.Random) -> None:
        chance.choice(self._others).write()

    def _step(self, chance: random.Random) -> None:
        self._step_s = chance.choice(STEPS_S)

    def _restart(self, chance: random.Random) -> None:
        """End all sessions, as a restart does."""
        self._database.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND datname = current_database() AND pid <> pg_backend_pid()"
        )

    def _limit(self, limit: int) -> None:
        query = "SELECT quote_ident(rolname) AS name FROM pg_roles WHERE rolcanlogin AND NOT rolsuper"
        for row in self._database.connection.execute(query).fetchall():
            self._database.connection.execute(f"ALTER ROLE {row['name']} CONNECTION LIMIT {limit}")

    def _exhaust(self, chance: random.Random) -> None:
        """Leave no connection for a moment."""
        self._limit(0)
        self._restart(chance)
        self._do_later(lambda: self._limit(-1))

    def _hold_lock(self, chance: random.Random) -> None:
        """Keep everybody from the table for a moment."""
        if self._database.rows() is not None:
            connection = self._database.connect()
            connection.execute("BEGIN; LOCK TABLE public.t IN SHARE MODE")
            self._do_later(connection.close)

    def _time_out(self, chance: random.Random) -> None:
        """Let what waits for the table time out."""
        self._limit_statements(2 * PAUSE_S)
        self._hold_lock(chance)

    def _limit_statements(self, timeout_s: float | None) -> None:
        assert isinstance(self._carto._server, EmbeddedServer)
        self._carto._server.state.statement_timeout_s = timeout_s

    def _do_later(self, action: Callable[[], None]) -> None:
        timer = threading.Timer(PAUSE_S * (1 + len(self._later) % 4), action)
        timer.start()
        self._later.append(timer)

    def settle(self) -> None:
        """Wait until all is as before."""
        for timer in self._later:
            timer.join()
        self._later.clear()
        self._step_s = 0.0
        self._limit_statements(None)

    def close(self) -> None:
        """End the other processes."""
        self.settle()
        for other in self._others:
            other.close()


@pytest.fixture(scope="module")
def carto_server() -> Iterator[LocalCarto]:
    """Start a server in this process, where its limits can be changed while it runs."""
    make_template()
    with start(user="tester", abandoned_upload_s=0.3, in_process=True) as server:
        yield server


@pytest.fixture
def surroundings(carto, database, proxy, tmp_path, monkeypatch) -> Iterator[Surroundings]:
    surroundings = Surroundings(carto, database, str(tmp_path), monkeypatch)
    yield surroundings
    surroundings.close()


def draw(chance: random.Random, last: int, surroundings: Surroundings) -> Fault:
    """Draw one fault; its request may never come."""
    number = chance.randrange(last + 3)
    kind = chance.choice(["network", "network", "answer", "order", "order", "surroundings", "surroundings"])
    if kind == "network":
        side = chance.choice(["request", "response"])
        return Fault(number, side, chance.choice([0, 100, 600]), "cut", abrupt=chance.random() < 0.3)
    if kind == "answer":
        instead = WRONG[chance.choice(list(WRONG))]
        return Fault(number, chance.choice(["request", "response"]), 0, "replace", instead=instead)
    if kind == "order":
        if chance.random() < 0.3:
            return Fault(number, action=chance.choice(["send_twice", "send_again"]))
        return delayed(chance.choice(list(CLIENT_OUTCOMES)), number, number + chance.randrange(1, last + 2))
    action = chance.choice(surroundings.actions)
    return Fault(number, chance.choice(["request", "response"]), 0, "delay", then=lambda: action(chance))


def suffer_at_random(proxy: FaultProxy, trial: Trial, surroundings: Surroundings, last: int, seed: str) -> None:
    """Write with two or three faults; an error names the trial."""
    chance = random.Random(seed)
    faults = [draw(chance, last, surroundings) for _ in range(chance.choice([2, 2, 3]))]
    proxy.play(*faults)
    error = None
    try:
        error = trial.run()
        proxy.wait_for_late()
        proxy.heal()
        surroundings.settle()
        trial.judge(error)
    except Exception as failure:
        failure.add_note(f"trial {seed}: {error!r} after {faults}")
        raise


@few_modes_unless_long("new-plain-3", "replace-other-columns-geometry-3", "append-plain-3", "upsert-plain-3")
def test_several_faults_at_once(proxy, trial, surroundings, is_long, request):
    last = len(record(proxy, trial)[True])
    for number in range(int(os.environ.get("TRIALS", 100 if is_long else 6))):
        suffer_at_random(proxy, trial, surroundings, last, f"{request.node.name} {number}")
