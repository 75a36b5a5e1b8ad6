"""What small calls cost over a network: round trips, requests and connections, through a proxy with a delay.

    python -m tests.benchmarks.latency [--delay-ms 100] [--repeat 3] [--only read_carto]

Tables of 10 rows. Times are in units of the delay; the last column is the time of the same call without it. Cold: the
first call to a server; warm: the second one. Medians of the repeats. If the variable CARTOFRAMES_PYTHON names a Python
with cartoframes 1.2.5, this is measured, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import geopandas as gpd

import cartoframes_lite as cfl
from tests.benchmarks.server_process import server
from tests.certificates import self_signed, server_context
from tests.delay_proxy import DelayProxy

OURS, THEIRS = "cartoframes_lite", "cartoframes 1.2.5"
_SCRIPT = Path(__file__).with_name("latency_cartoframes.py")
Call = Callable[[cfl.Credentials, str], Any]
Runner = Callable[[str, cfl.Credentials, str], float]  # name of a call, credentials, table; returns its seconds

FRAME = gpd.GeoDataFrame(
    {"name": [f"place {i}" for i in range(10)], "value": [i / 2 for i in range(10)]},
    geometry=gpd.points_from_xy(range(10), range(10)),
    crs=4326,
)


def _write(if_exists: Any, key: str | None = None) -> Call:
    return lambda account, table: cfl.to_carto(FRAME, table, account, if_exists=if_exists, key=key, progress=False)


def _show(account: cfl.Credentials, table: str) -> None:
    cfl.Dataset(table, account).map()._repr_mimebundle_()


def _show_colors(account: cfl.Credentials, table: str) -> None:
    cfl.Map(cfl.Layer(table, color_by="value"), account)._repr_mimebundle_()


CALLS: dict[str, Call] = {
    "read_carto table": lambda account, table: cfl.read_carto(table, account, progress=False),
    "read_carto query": lambda account, table: cfl.read_carto(f"SELECT * FROM {table}", account, progress=False),
    "to_carto new": _write("fail"),
    "to_carto replace": _write("replace"),
    "to_carto append": _write("append"),
    "to_carto upsert": _write("upsert", "name"),
    "delete_rows": lambda account, table: cfl.Dataset(table, account).delete_rows(
        f"cartodb_id = (SELECT min(cartodb_id) FROM {table})"
    ),
    "has_table": lambda account, table: cfl.has_table(table, account),
    "list_tables": lambda account, table: cfl.list_tables(account),
    "describe_table": lambda account, table: cfl.describe_table(table, account),
    "len(Dataset)": lambda account, table: len(cfl.Dataset(table, account)),
    "Dataset.bounds": lambda account, table: cfl.Dataset(table, account).bounds,
    "Dataset.columns": lambda account, table: cfl.Dataset(table, account).columns(),
    "Dataset.privacy": lambda account, table: cfl.Dataset(table, account).privacy,
    "Dataset.head": lambda account, table: cfl.Dataset(table, account).head(),
    "Dataset.delete": lambda account, table: cfl.Dataset(table, account).delete(),
    "map in a notebook": _show,
    "map with color_by": _show_colors,
}
NEW = "to_carto new"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call cost, or the medians of several; ``time`` is in units of the delay."""

    time: float
    round_trips: float
    requests: float
    connections: float

    @classmethod
    def median(cls, costs: Iterable[Cost]) -> Cost:
        """Return the median of each figure."""
        return cls(*map(median, zip(*map(astuple, costs), strict=True)))


@dataclass(frozen=True, slots=True)
class Row:
    """Costs of the first and of the second call, and the seconds of a call without delay."""

    cold: Cost
    warm: Cost
    bare_s: float

    def pair(self, field: str, digits: int = 0) -> str:
        """Return a figure of both calls."""
        return " / ".join(f"{getattr(cost, field):.{digits}f}" for cost in (self.cold, self.warm))


def run_ours(name: str, account: cfl.Credentials, table: str) -> float:
    """Run a call of cartoframes_lite."""
    started = time.perf_counter()
    CALLS[name](account, table)
    return time.perf_counter() - started


@contextmanager
def cartoframes(python: str, certificate: Path) -> Iterator[Runner]:
    """Start a process that runs the same calls with cartoframes."""
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(certificate), "PYTHONWARNINGS": "ignore"}
    command = [python, str(_SCRIPT)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        calls, answers = process.stdin, process.stdout

        def run(name: str, account: cfl.Credentials, table: str) -> float:
            print(name, account.base_url, account.api_key, table, sep="\t", file=calls, flush=True)
            for line in answers:  # cartoframes prints messages of its own
                if line.startswith("seconds "):
                    return float(line.split()[1])
            raise RuntimeError(f"{name}: the process of cartoframes has ended")

        try:
            yield run
        finally:
            calls.close()


class Measurement:
    """Measures calls through new proxies in front of one server."""

    def __init__(self, account: cfl.Credentials, certificate: Path, delay_s: float, repeat: int) -> None:
        self._account, self._certificate, self._delay_s, self._repeat = account, certificate, delay_s, repeat
        self._numbers = count()

    def row(self, name: str, run: Runner, *, encrypted: bool) -> Row:
        """Measure a call, and print its costs."""
        bare_s = median(self._without_delay(name, run) for _ in range(self._repeat))
        costs = [self._costs(name, run, encrypted) for _ in range(self._repeat)]
        cold, warm = map(Cost.median, zip(*costs, strict=True))
        row = Row(cold, warm, bare_s)
        cells = [row.pair("time", 1), *map(row.pair, ("round_trips", "requests", "connections"))]
        print(f"| {name} | {' | '.join(cells)} | {bare_s * 1000:.0f} ms |", flush=True)
        return row

    def _table(self, name: str) -> str:
        """Return the name of a new table, which exists unless the call creates it."""
        table = f"latency_{next(self._numbers)}"
        if name != NEW:
            cfl.to_carto(FRAME, table, self._account, progress=False)
        return table

    def _without_delay(self, name: str, run: Runner) -> float:
        """Return the seconds of a call without the proxy; it also imports what the call needs."""
        return run(name, self._account, self._table(name))

    def _costs(self, name: str, run: Runner, encrypted: bool) -> list[Cost]:
        """Return the costs of a first and of a second call."""
        base_url, costs = str(self._account.base_url), []
        first = self._table(name)
        tables = [first, self._table(name) if name in (NEW, "Dataset.delete") else first]
        tls = server_context(self._certificate) if encrypted else None
        with DelayProxy(base_url, self._delay_s, tls=tls) as proxy:
            account = cfl.Credentials(
                api_key=self._account.api_key,
                base_url=proxy.base_url,
                verify=str(self._certificate) if encrypted else True,
            )
            for table in tables:
                proxy.reset()
                seconds = run(name, account, table)
                costs.append(Cost(seconds / self._delay_s, proxy.round_trips, len(proxy.requests), proxy.connections))
        return costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay-ms", type=float, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="", help="only calls whose name contains this")
    options = parser.parse_args()
    python = os.environ.get("CARTOFRAMES_PYTHON")
    with server() as (account, _), tempfile.TemporaryDirectory() as folder:
        certificate = self_signed(Path(folder))
        run = Measurement(account, certificate, options.delay_ms / 1000, options.repeat)
        names = [name for name in CALLS if options.only in name]
        rows: dict[tuple[str, bool], dict[str, Row]] = {}
        for encrypted in (False, True):
            _print_head(OURS, encrypted)
            rows[OURS, encrypted] = {name: run.row(name, run_ours, encrypted=encrypted) for name in names}
            if python:
                _print_head(THEIRS, encrypted)
                with cartoframes(python, certificate) as run_theirs:
                    theirs = [name for name in names if f'"{name}"' in _SCRIPT.read_text()]
                    rows[THEIRS, encrypted] = {name: run.row(name, run_theirs, encrypted=encrypted) for name in theirs}
    _print_summary(names, rows)
    if not python:
        print("\ncartoframes was not measured: CARTOFRAMES_PYTHON is not set", file=sys.stderr)


def _print_head(package: str, encrypted: bool) -> None:
    scheme = "TLS" if encrypted else "plain"
    print(f"\n| {package}, {scheme}, cold / warm | time / delay | round trips | requests | connections | no delay |")
    print("|---|---|---|---|---|---|")


def _print_summary(names: list[str], rows: dict[tuple[str, bool], dict[str, Row]]) -> None:
    """Print the table of docs/performance.md."""
    print(f"\n| first / second call | requests | round trips | TLS | time | TLS | {THEIRS}: requests | time | TLS |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        plain, tls = rows[OURS, False][name], rows[OURS, True][name]
        cells = [plain.pair("requests"), *(row.pair("round_trips") for row in (plain, tls))]
        cells += [row.pair("time", 1) for row in (plain, tls)]
        theirs = [rows.get((THEIRS, encrypted), {}).get(name) for encrypted in (False, True)]
        cells += [row.pair("requests") if row else "" for row in theirs[:1]]
        cells += [row.pair("time", 1) if row else "" for row in theirs]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
