"""Start, reset and read with the embedded server in a process of its own, and in this one.

    python -m tests.benchmarks.start [--rows 300000] [--repeat 5]

Each figure is the best of the repeats, all in one run; take the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from dataclasses import dataclass, fields

import cartoframes_lite as cfl
from cartoframes_lite.local import LocalCarto
from tests.benchmarks.speed import Measurement, best


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds, except for the last one."""

    start: float
    stop: float
    reset: float
    credentials: float
    read_per_drain: float


def measure(*, in_process: bool, rows: int, repeat: int) -> Figures:
    starts, stops = [], []
    for _ in range(repeat):
        with contextlib.ExitStack() as stack:
            begun = time.perf_counter()
            carto = stack.enter_context(cfl.local.start(in_process=in_process))
            starts.append(time.perf_counter() - begun)
            carto.reset()  # the first one of a server takes longer
            stopping = time.perf_counter()
        stops.append(time.perf_counter() - stopping)
    with cfl.local.start(in_process=in_process) as carto:
        carto.reset()
        reset, credentials = best(carto.reset, 20 * repeat), best(lambda: carto.credentials, 20 * repeat)
        ratio = read_per_drain(carto, rows, repeat)
    return Figures(min(starts), min(stops), reset, credentials, ratio)


def read_per_drain(carto: LocalCarto, rows: int, repeat: int) -> float:
    run = Measurement(carto.credentials, carto.dsn, rows)
    run.write()
    ratio = best(run.read, repeat) / best(run.drain, repeat)
    run.engine.dispose()
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    own, this = (
        measure(in_process=in_process, rows=options.rows, repeat=options.repeat) for in_process in (False, True)
    )
    print(f"{'':16}{'own process':>14}{'this process':>14}{'ratio':>8}")
    for field in fields(Figures):
        first, second = getattr(own, field.name), getattr(this, field.name)
        unit, factor = ("", 1) if field.name == "read_per_drain" else (" ms", 1000)
        print(
            f"{field.name.replace('_', ' '):16}{first * factor:>11.2f}{unit:3}{second * factor:>11.2f}{unit:3}"
            f"{first / second:>8.2f}"
        )


if __name__ == "__main__":
    main()
