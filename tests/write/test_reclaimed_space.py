"""Tables whose rows are replaced, updated or deleted many times do not grow without end."""

from __future__ import annotations

import time
from collections.abc import Callable

import pandas as pd
import pytest

import cartoframes_lite as cfl
from tests.test_keys import ALL, FRAME, regular_key

ROWS = pd.DataFrame({"n": range(5_000), "name": ["a name of some length"] * 5_000})


def delete_and_append(credentials: cfl.Credentials) -> None:
    dataset = cfl.Dataset("t", credentials)
    assert dataset.delete_rows("n >= 0") == len(ROWS)
    dataset.append(ROWS)


WRITES: dict[str, Callable[[cfl.Credentials], object]] = {
    "replace": lambda credentials: cfl.to_carto(ROWS, "t", credentials, if_exists="replace"),
    "delete_rows": lambda credentials: cfl.to_carto(ROWS, "t", credentials, if_exists="delete_rows"),
    "upsert": lambda credentials: cfl.to_carto(ROWS, "t", credentials, if_exists="upsert", key="n"),
    "delete and append": delete_and_append,
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_the_space_of_old_rows_is_reused(credentials, write):
    sql = cfl.Client(credentials).sql

    def number(expression: str) -> int:
        return int(sql.row(f"SELECT ({expression})::int AS n", "n")["n"])

    vacuums = "coalesce((SELECT vacuum_count FROM pg_stat_all_tables WHERE relid = 't'::regclass), 0)"
    cfl.to_carto(ROWS, "t", credentials)
    sizes = []
    for repeated in range(1, 5):
        write(credentials)
        deadline = time.monotonic() + 60
        while number(vacuums) < repeated:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        sizes.append(number("pg_total_relation_size('t') / 1000"))
    assert max(sizes) < 1.3 * sizes[0]


def test_keys_without_batch_jobs_replace_as_well(credentials):
    cfl.to_carto(FRAME, "owned", credentials)
    key = regular_key(credentials, ALL)
    cfl.to_carto(FRAME, "owned", key, if_exists="replace")
    assert cfl.Dataset("owned", key).delete_rows("n = 1") == 1
    assert len(cfl.read_carto("owned", credentials)) == 1
