"""Uploads over connections of 10, 100 and 1000 Mbit/s: uncompressed, with gzip, and with compress="auto".

    python -m tests.benchmarks.compression [--seconds 2] [--repeat 3]

Binary COPY into a table without indexes, of rows that are half the size with gzip, and of random bytes. Each upload is
about as large as its connection forwards in ``--seconds``; the figures are the best of the repeats, all in one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np

import cartoframes_lite as cfl
from cartoframes_lite._client.http.gzip_encoding import Compression
from cartoframes_lite.write.statements import column_definitions
from tests.benchmarks.publishing import Rows
from tests.benchmarks.rate_proxy import limited_rate
from tests.benchmarks.server_process import server
from tests.benchmarks.speed import frame_of

WAYS: tuple[Compression, ...] = (None, "gzip", "auto")
_ROW_BYTES = 160  # of the frame
_VALUE_BYTES = 1 << 10
_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def noise(size: int) -> list[bytes]:
    """Return the binary COPY of a column of random bytes, in blocks of 1 MB."""
    rng, rows = np.random.default_rng(1), max(1, size // _VALUE_BYTES)
    data = np.empty((rows, 6 + _VALUE_BYTES), np.uint8)
    data[:, :6] = np.frombuffer(b"\0\1" + _VALUE_BYTES.to_bytes(4, "big"), np.uint8)
    data[:, 6:] = rng.integers(0, 256, (rows, _VALUE_BYTES), np.uint8)
    content = data.tobytes()
    return [_HEADER, *(content[at : at + (1 << 20)] for at in range(0, len(content), 1 << 20)), _TRAILER]


class Uploads:
    """Uploads to one account."""

    def __init__(self, credentials: cfl.Credentials) -> None:
        self._direct, self._credentials = cfl.Client(credentials), credentials
        self._tables = count()

    def seconds(self, base_url: str, create: str, blocks: Sequence[bytes], compress: Compression) -> float:
        """Return the seconds of one COPY."""
        table = f"sent_{next(self._tables)}"
        self._direct.sql.send(create.replace("sent", table))
        client = cfl.Client(replace(self._credentials, base_url=base_url))
        client.copy._transport.is_local = False  # so that "auto" measures
        started = time.perf_counter()
        client.copy.copy_from(f"COPY {table} FROM STDIN WITH (FORMAT binary)", lambda: blocks, compress=compress)
        elapsed_s = time.perf_counter() - started
        self._direct.sql.send(f"DROP TABLE {table}")
        return elapsed_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--mbit", type=int, nargs="*", default=[10, 100, 1000])
    options = parser.parse_args()
    with server() as (credentials, _):
        uploads = Uploads(credentials)
        for mbit_s in options.mbit:
            size = int(min(options.seconds, 0.5 if mbit_s == 1000 else options.seconds) * mbit_s * 1e6 / 8)
            rows = Rows.of(frame_of(size // _ROW_BYTES))
            create_rows = f"CREATE TABLE sent ({column_definitions(rows.columns, with_sequence=True)})"
            kinds = {"rows": (create_rows, rows.blocks), "random bytes": ("CREATE TABLE sent (a bytea)", noise(size))}
            with limited_rate(str(credentials.base_url), mbit_s) as base_url:
                for kind, (create, blocks) in kinds.items():
                    plain, gzip, auto = (
                        min(uploads.seconds(base_url, create, blocks, way) for _ in range(options.repeat))
                        for way in WAYS
                    )
                    print(
                        f"{mbit_s:5} Mbit/s, {sum(map(len, blocks)) / 1e6:3.0f} MB of {kind}: plain {plain:.2f} s,"
                        f" gzip {gzip:.2f} s, auto {auto:.2f} s; auto / plain = {auto / plain:.2f},"
                        f" auto / gzip = {auto / gzip:.2f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
