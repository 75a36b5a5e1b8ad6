"""Tables that are replaced many times do not grow without end."""

from __future__ import annotations

import time

import pandas as pd

import cartoframes_lite as cfl
from tests.test_keys import ALL, FRAME, regular_key


def test_replaces_reuse_the_space_of_old_rows(credentials):
    frame = pd.DataFrame({"n": range(20_000), "name": ["a name of some length"] * 20_000})
    sql = cfl.Client(credentials).sql

    def row(expression: str) -> int:
        return int(sql.row(f"SELECT ({expression})::int AS n", "n")["n"])

    sizes = []
    for replaces in range(5):
        cfl.to_carto(frame, "t", credentials, if_exists="replace")
        deadline = time.monotonic() + 60
        vacuumed = "coalesce((SELECT vacuum_count FROM pg_stat_all_tables WHERE relid = 't'::regclass), 0)"
        while row(vacuumed) < replaces and time.monotonic() < deadline:
            time.sleep(0.05)
        sizes.append(row("pg_total_relation_size('t') / 1000"))
    assert sizes[-1] < 2.5 * sizes[0]


def test_keys_without_batch_jobs_replace_as_well(credentials):
    cfl.to_carto(FRAME, "owned", credentials)
    cfl.to_carto(FRAME, "owned", regular_key(credentials, ALL), if_exists="replace")
    assert len(cfl.read_carto("owned", credentials)) == 2
