"""Processor time of imports, and of the help of the command line, as ratios to ``import geopandas``.

    python -m tests.benchmarks.imports [--runs 10]

Each case runs in new processes, in turn with the other cases; its shortest run counts, without the start of Python.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

START, BASE = "Python", "import geopandas"
CASES = {
    START: ("-c", "pass"),
    BASE: ("-c", "import geopandas"),
    "import cartoframes_lite": ("-c", "import cartoframes_lite"),
    "import geopandas, cartoframes_lite": ("-c", "import geopandas, cartoframes_lite"),
    "... and the first use of read_carto": ("-c", "import geopandas, cartoframes_lite; cartoframes_lite.read_carto"),
    "... and of all names": ("-c", "import geopandas; from cartoframes_lite import *"),
    "python -m cartoframes_lite --help": ("-m", "cartoframes_lite", "--help"),
    "python -m cartoframes_lite serve --help": ("-m", "cartoframes_lite", "serve", "--help"),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs: int = parser.parse_args().runs
    measured: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(runs):
        for name, arguments in CASES.items():
            measured[name].append(processor_s(arguments))
    shortest = {name: min(times) for name, times in measured.items()}
    start = shortest.pop(START)
    base = shortest[BASE] - start
    for name, total in shortest.items():
        print(f"{name:42} {(total - start) / base:5.2f}  {total - start:.3f} s")


def processor_s(arguments: tuple[str, ...]) -> float:
    """Run Python and return its processor time, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
