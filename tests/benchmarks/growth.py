"""Write and read tables of 1,000 to 10,000,000 rows: seconds and peak memory per million rows. Linux only.

    python -m tests.benchmarks.growth [--most-rows 10000000] [--plot docs/_static/growth.svg]

Each size is measured by a process of its own, which writes a CARTO table and reads it. Times of small tables are the
best of several. Memory is the growth of the resident memory of that process, beyond the frame when writing, with the
frame when reading. The plot needs Matplotlib.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import cartoframes_lite as cfl
from tests.benchmarks.memory import growth_mb
from tests.benchmarks.server_process import server
from tests.benchmarks.speed import best, frame_of

_TABLE = "growth"
_KEY = "CARTO_API_KEY"
_REPEATED_ROWS = 300_000  # tables with more rows are measured once


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of writing and reading a table.

    Attributes
    ----------
    rows : int
    write_s, read_s : float
    write_mb, read_mb : float
        Growth of the resident memory at its peak.
    frame_mb : float
        Memory of the frame, without that of its geometries outside the frame.
    """

    rows: int
    write_s: float
    read_s: float
    write_mb: float
    read_mb: float
    frame_mb: float


def measure(rows: int, credentials: cfl.Credentials) -> Cost:
    """Write and read a table in this process."""
    frame = frame_of(rows)
    repeat = max(1, min(5, _REPEATED_ROWS // rows))

    def write() -> None:
        cfl.Client(credentials).sql.send(f"DROP TABLE IF EXISTS {_TABLE}")
        cfl.to_carto(frame, _TABLE, credentials, progress=False)

    def read() -> None:
        assert len(cfl.read_carto(_TABLE, credentials, progress=False)) == rows

    times: list[float] = []
    write_mb = growth_mb(lambda: times.append(best(write, repeat)))
    read_mb = growth_mb(lambda: times.append(best(read, repeat)))
    write_s, read_s = times
    return Cost(rows, write_s, read_s, write_mb, read_mb, frame.memory_usage(deep=True).sum() / 2**20)


def measure_in_process(rows: int, credentials: cfl.Credentials) -> Cost:
    """Write and read a table in a new process."""
    command = [sys.executable, "-m", "tests.benchmarks.growth", "--measure", str(rows), str(credentials.base_url)]
    environment = {**os.environ, _KEY: str(credentials.api_key)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(done.stdout))


def plot(costs: list[Cost], path: Path) -> None:
    """Draw the seconds and the memory by the number of rows."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    seconds, memory = figure.subplots(1, 2)
    rows = [cost.rows for cost in costs]
    for axes, title, names in (
        (seconds, "seconds", {"to_carto": "write_s", "read_carto": "read_s"}),
        (memory, "MB of memory", {"to_carto": "write_mb", "read_carto": "read_mb", "the frame": "frame_mb"}),
    ):
        for label, name in names.items():
            axes.plot(rows, [getattr(cost, name) for cost in costs], marker="o", label=label)
        axes.set(xscale="log", yscale="log", xlabel="rows", title=title)
        last = getattr(costs[-1], next(iter(names.values())))
        axes.plot(rows, [last * size / rows[-1] for size in rows], "k:", alpha=0.4, label="linear growth")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most-rows", type=int, default=10_000_000)
    parser.add_argument("--plot", type=Path, help="file for a plot, such as growth.svg")
    parser.add_argument("--measure", nargs=2, metavar=("ROWS", "BASE_URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        rows, base_url = options.measure
        credentials = cfl.Credentials(api_key=os.environ[_KEY], base_url=base_url)
        print(json.dumps(asdict(measure(int(rows), credentials))))
        return
    sizes = [10**power for power in range(3, 1 + round(math.log10(options.most_rows)))]
    with server() as (credentials, _):
        costs = [measure_in_process(rows, credentials) for rows in sizes]
    print(f"{os.cpu_count()} cores; per million rows:")
    print(f"{'rows':>10} {'write s':>8} {'read s':>7} {'write MB':>9} {'read MB':>8} {'frame MB':>9}")
    for cost in costs:
        million = cost.rows / 1e6
        print(
            f"{cost.rows:10,} {cost.write_s / million:8.2f} {cost.read_s / million:7.2f}"
            f" {cost.write_mb / million:9.0f} {cost.read_mb / million:8.0f} {cost.frame_mb / million:9.0f}"
        )
    if options.plot is not None:
        plot(costs, options.plot)


if __name__ == "__main__":
    main()
