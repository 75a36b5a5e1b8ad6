"""Ways to publish a new CARTO table of 300,000 points, each compared with the bare POST of its rows.

    python -m tests.benchmarks.publishing [--rows 300000] [--repeat 3]

The bare POST is a COPY of prepared bytes into a table without key and indexes. Each way is measured from the COPY to
the published table, through the API; the figures are the best of the repeats, all in one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import geopandas as gpd
import psycopg

import cartoframes_lite as cfl
from cartoframes_lite._codec.copybinary import encode
from cartoframes_lite._codec.frame import WEB_MERCATOR
from cartoframes_lite.write.columns import Columns, arrow_schema
from cartoframes_lite.write.indexes_sql import create_spatial_index
from cartoframes_lite.write.plan import plan_new
from cartoframes_lite.write.prepare import prepare
from cartoframes_lite.write.publishing_sql import publish_new
from cartoframes_lite.write.staged_sql import Staged
from cartoframes_lite.write.staging_sql import create_staging
from cartoframes_lite.write.statements import column_definitions, copy_in
from tests.benchmarks.server_process import server
from tests.benchmarks.speed import frame_of

STAGING, TABLE, KEY = "stage", "posted", "stage_key"
GEOMETRIES = ("the_geom", "the_geom_webmercator")


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows, and the columns of their staging table."""

    count: int
    columns: Columns
    blocks: Sequence[bytes]

    @classmethod
    def of(cls, frame: gpd.GeoDataFrame, *, without: str = "") -> Rows:
        """Encode a frame, without one of the columns."""
        prepared = prepare(frame)
        plan = plan_new(TABLE, prepared.columns, cartodbfy=True)
        columns = tuple(column for column in plan.columns if column.name != without)
        batches = (
            payload.record_batch().select([column.name for column in columns])
            for payload in plan.staged_rows(prepared.payloads())
        )
        return cls(len(frame), columns, list(encode(batches, arrow_schema(columns))))


class Ways:
    """The ways to publish, on one server."""

    def __init__(self, credentials: cfl.Credentials, dsn: str, rows: int) -> None:
        self._client, self._dsn = cfl.Client(credentials), dsn
        frame = frame_of(rows)
        self._rows = Rows.of(frame)
        by_place = frame.geometry.hilbert_distance().sort_values().index
        self._near = Rows.of(frame.loc[by_place].reset_index(drop=True))
        self._lon_lat = Rows.of(frame, without=WEB_MERCATOR)

    def bare_post(self) -> float:
        """Seconds of the COPY alone."""
        self._create(self._rows)
        started = time.perf_counter()
        self._copy(self._rows)
        return time.perf_counter() - started

    def run(
        self, before: Sequence[str] = (), *, rows: Rows | None = None, settings: str = "", build: str = ""
    ) -> float:
        """Seconds from the COPY to the published table.

        Parameters
        ----------
        before : sequence of str
            Statements before the COPY, which are not measured.
        rows : Rows, optional
        settings : str
            Statements at the beginning of the publishing transaction.
        build : str
            When the spatial indexes are built: "" when published, "one" or "two" before, over as many connections.
        """
        rows = rows or self._rows
        oid = self._create(rows)
        for statement in before:
            self._client.sql.send(statement)
        started = time.perf_counter()
        self._copy(rows)
        if build:
            with ThreadPoolExecutor({"one": 1, "two": 2}[build]) as threads:
                list(threads.map(self._client.sql.send, self.create_indexes()))
        publish = publish_new("public", Staged(STAGING, oid, rows.count), TABLE, rows.columns, cartodbfy=True)
        if any(KEY in statement for statement in before):
            publish = publish.replace('PRIMARY KEY ("cartodb_id")', f"PRIMARY KEY USING INDEX {KEY}")
        self._client.sql.send(settings + publish)
        return time.perf_counter() - started

    @staticmethod
    def create_indexes() -> list[str]:
        """Compose the statements that create the spatial indexes."""
        return [create_spatial_index("public", STAGING, column) for column in GEOMETRIES]

    def run_without_web_mercator(self) -> float:
        """Seconds if the server computes the_geom_webmercator."""
        rows = self._lon_lat
        oid = self._create(rows)
        started = time.perf_counter()
        self._copy(rows)
        add = (
            "ALTER TABLE stage ADD COLUMN the_geom_webmercator geometry(Geometry,3857);"
            "UPDATE stage SET the_geom_webmercator = ST_Transform(the_geom, 3857);"
        )
        publish = publish_new("public", Staged(STAGING, oid, rows.count), TABLE, self._rows.columns, cartodbfy=True)
        self._client.sql.send(add)
        self._client.sql.send(publish)
        return time.perf_counter() - started

    def run_unsorted(self) -> float:
        """Seconds with an operator class without sort support, as in other releases of PostGIS."""
        oid = self._create(self._rows)
        started = time.perf_counter()
        self._copy(self._rows)
        with psycopg.connect(self._dsn) as connection:  # sessions of the server have cached the operator class
            connection.execute("ALTER OPERATOR FAMILY gist_geometry_ops_2d USING gist DROP FUNCTION 11 (geometry)")
            for statement in self.create_indexes():
                connection.execute(statement.encode())
            connection.execute(
                "ALTER OPERATOR FAMILY gist_geometry_ops_2d USING gist"
                " ADD FUNCTION 11 (geometry) geometry_gist_sortsupport_2d(internal)"
            )
        staged = Staged(STAGING, oid, self._rows.count)
        self._client.sql.send(publish_new("public", staged, TABLE, self._rows.columns, cartodbfy=True))
        return time.perf_counter() - started

    def ways(self) -> dict[str, Callable[[], float]]:
        """Return the ways by description."""
        key = f"CREATE UNIQUE INDEX {KEY} ON {STAGING} (cartodb_id)"
        return {
            "indexes when published": self.run,
            "indexes before, over two connections (to_carto of many rows)": lambda: self.run(build="two"),
            "indexes before, over one connection": lambda: self.run(build="one"),
            "primary key during the COPY": lambda: self.run([key]),
            "indexes during the COPY": lambda: self.run(self.create_indexes()),
            "maintenance_work_mem = 1 GB": lambda: self.run(settings="SET LOCAL maintenance_work_mem = '1GB';"),
            "rows in the order of a Hilbert curve": lambda: self.run(rows=self._near),
            "the_geom_webmercator by the server": self.run_without_web_mercator,
            "unsorted builds (PostGIS without sort support)": self.run_unsorted,
        }

    def _create(self, rows: Rows) -> int:
        self._client.sql.send(f"DROP TABLE IF EXISTS {TABLE}, {STAGING}")
        create = create_staging("public", STAGING, column_definitions(rows.columns, with_sequence=True))
        return int(self._client.sql.send(create)["rows"][0]["oid"])

    def _copy(self, rows: Rows) -> None:
        self._client.copy.copy_from(copy_in(STAGING), lambda: iter(rows.blocks))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with server() as (credentials, dsn):
        measured = Ways(credentials, dsn, options.rows)
        post = min(measured.bare_post() for _ in range(options.repeat))
        print(f"{options.rows:,} rows; bare POST {post:.2f} s; from the COPY to the table, as a multiple of it:")
        for name, way in measured.ways().items():
            print(f"{min(way() for _ in range(options.repeat)) / post:5.1f}  {name}", flush=True)


if __name__ == "__main__":
    main()
