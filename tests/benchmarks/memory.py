"""Peak memory of a chunked read of a table of any length.

    python tests/benchmarks/memory.py [--rows 5000000] [--chunksize 50000]

Prints the growth of this process' resident memory for a tenth of the rows and for all of them.
"""

from __future__ import annotations

import argparse
import resource

from server import server

import cartoframes_lite as cfl

_QUERY = """
SELECT n AS id, 'place number ' || n AS name, n / 7.0::float8 AS height, n % 2 = 0 AS active,
       timestamp '2020-01-01' + n * interval '1 second' AS seen,
       ST_SetSRID(ST_MakePoint(n % 180, n % 90), 4326) AS the_geom
  FROM generate_series(1, {rows}) n
"""


def peak_mb() -> float:
    """Give the largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--chunksize", type=int, default=50_000)
    options = parser.parse_args()
    with server() as (credentials, _):
        start = peak_mb()
        for rows in (options.rows // 10, options.rows):
            chunks = cfl.read_carto(_QUERY.format(rows=rows), credentials, chunksize=options.chunksize, progress=False)
            assert sum(len(chunk) for chunk in chunks) == rows
            print(f"{rows:>10,} rows in chunks of {options.chunksize:,}: {peak_mb() - start:.0f} MB above the start")


if __name__ == "__main__":
    main()
