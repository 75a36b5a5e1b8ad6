"""How many requests a read makes: one for the columns, one for the rows."""

from __future__ import annotations

from collections.abc import Iterator

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

import cartoframes_lite as cfl
from tests.delay_proxy import DelayProxy

SQL, COPY = ("POST", "/user/tester/api/v2/sql"), ("POST", "/user/tester/api/v2/sql/copyto")
SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN amount AS integer CHECK (value > 0);
CREATE TABLE moods AS SELECT 'happy'::mood AS a, 3::amount AS b, '{sad}'::text[] AS c;
CREATE VIEW stations AS SELECT n, t, the_geom FROM t;
CREATE MATERIALIZED VIEW stored AS SELECT n FROM t;
CREATE TABLE parted (n int, t text) PARTITION BY RANGE (n);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE INDEX ON parted (n);
INSERT INTO parted SELECT n, n FROM generate_series(0, 19) AS n;
CREATE TABLE lookup AS SELECT 1 AS n;
CREATE FUNCTION looked_up(integer) RETURNS bigint LANGUAGE plpgsql
    AS 'BEGIN RETURN (SELECT sum(n) + $1 FROM lookup); END';
"""
READS = {
    "table": lambda c: cfl.read_carto("t", c),
    "query": lambda c: cfl.read_carto("SELECT n, t FROM t WHERE n >= 0 ORDER BY n DESC", c),
    "limit": lambda c: cfl.read_carto("t", c, limit=5),
    "columns": lambda c: cfl.read_carto("t", c, columns=["n"]),
    "where and params": lambda c: cfl.read_carto("t", c, where="n > %(n)s", params={"n": 2}),
    "bbox": lambda c: cfl.read_carto("t", c, bbox=(-180, -90, 180, 90)),
    "mask": lambda c: cfl.read_carto("SELECT * FROM t", c, mask=gpd.points_from_xy([1], [1], crs=3857)[0].buffer(9e6)),
    "chunks": lambda c: pd.concat(cfl.read_carto("t", c, chunksize=3)),
    "arrow": lambda c: cfl.read_arrow("t", c).read_all(),
    "dataset": lambda c: cfl.Dataset("t", c).read(),
    "view": lambda c: cfl.read_carto("stations", c),
    "query of a view": lambda c: cfl.read_carto("SELECT n FROM stations", c),
    "materialized view": lambda c: cfl.read_carto("stored", c),
    "partitioned table": lambda c: cfl.read_carto("parted", c),
    "a partition": lambda c: cfl.read_carto("SELECT * FROM parted WHERE n > 12", c),
    "enum and domain": lambda c: cfl.read_carto("moods", c),
    "values": lambda c: cfl.read_carto("VALUES (1, 'a'), (2, 'b')", c),
    "aggregate": lambda c: cfl.read_carto("SELECT count(*), max(n) FROM t GROUP BY n % 2", c),
    "join": lambda c: cfl.read_carto("SELECT a.n, b.t FROM t a JOIN t b USING (n)", c),
    "no columns": lambda c: cfl.read_carto("SELECT FROM t", c),
    "locked rows": lambda c: cfl.read_carto("SELECT * FROM t FOR SHARE", c),
    "generated rows": lambda c: cfl.read_carto("SELECT generate_series(1, 3) AS n, random() AS x", c),
}


@pytest.fixture
def tables(credentials) -> None:
    numbers = np.arange(10)
    frame = gpd.GeoDataFrame({"n": numbers, "t": "a"}, geometry=gpd.points_from_xy(numbers, numbers), crs=4326)
    cfl.to_carto(frame, "t", credentials, progress=False)
    cfl.execute(SETUP, credentials=credentials)


@pytest.fixture
def through(tables, carto) -> Iterator[tuple[DelayProxy, cfl.Credentials]]:
    with DelayProxy(carto.base_url, 0) as proxy:
        yield proxy, cfl.Credentials(api_key=carto.credentials.api_key, base_url=proxy.base_url)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_makes_two_requests(read, through):
    proxy, credentials = through
    assert len(read(credentials)) > 0
    assert proxy.requests == [SQL, COPY]


def test_public_reads_make_two_requests(through, credentials):
    cfl.update_privacy_table("t", "public", credentials)
    proxy, through_proxy = through
    assert len(cfl.read_carto("t", cfl.Credentials(base_url=through_proxy.base_url))) == 10
    assert proxy.requests == [SQL, COPY]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("SELECT * FROM t WHERE n < 0", id="no-rows"),
        pytest.param("SELECT looked_up(1) AS n", id="function-that-reads-a-table"),
    ],
)
def test_what_the_rows_do_not_prove_is_queried(source, through):
    proxy, credentials = through
    cfl.read_carto(source, credentials)
    assert proxy.requests == [SQL, COPY, SQL]
