"""How long ``import cartoframes_lite`` takes, and that without the extra ``local`` the package says what to install."""

from __future__ import annotations

import subprocess
import sys

LARGEST_RATIO = 1.15
RUNS = 7  # the fastest counts: the others have waited for the disk or for another program
IMPORT = """
import time
wall, processor = time.perf_counter(), time.process_time()
import {}
print(time.perf_counter() - wall, time.process_time() - processor)
"""


def seconds(module: str) -> tuple[float, float]:
    """Import a module in new processes; return the shortest times in seconds, by the clock and of the processor."""
    command = [sys.executable, "-c", IMPORT.format(module)]
    runs = [subprocess.run(command, capture_output=True, text=True).stdout.split() for _ in range(RUNS)]
    return min(float(wall) for wall, _ in runs), min(float(processor) for _, processor in runs)


def main() -> int:
    """Print the figures; return the exit status."""
    (wall, processor), (_, beneath) = seconds("cartoframes_lite"), seconds("geopandas")
    print(f"import cartoframes_lite: {wall:.2f} s; {processor:.2f} s of the processor, geopandas {beneath:.2f} s")
    start = "import cartoframes_lite; cartoframes_lite.local.start()"
    said = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True).stderr
    advises = 'pip install "cartoframes_lite[local]"' in said
    if not advises:
        print(said)
    # Programs beside this one make the clock run on, but not the processor's time of this one.
    return 0 if processor < LARGEST_RATIO * beneath and advises else 1


if __name__ == "__main__":
    sys.exit(main())
