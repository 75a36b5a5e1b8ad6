"""Frames that contain their version in each row, and checks of the tables after faults."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import geopandas as gpd
import pandas as pd
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from cartoframes_lite.local import LocalCarto
from cartoframes_lite.write import staging_names
from cartoframes_lite.write.options import IfExists

ROWS = 60
FIRST = 20  # rows that an upsert appends, while it updates the others
_KEPT_OUT = ("cartodb_id", "the_geom_webmercator")

Rows = Counter[tuple[tuple[str, Any], ...]]


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to write.

    Attributes
    ----------
    if_exists : {"fail", "replace", "append", "upsert", "delete_rows"}
        ``fail`` writes a new table.
    other_columns : bool
        What is written has another type of one column, a column more and a column fewer than the table.
    geometry : bool
    pieces : int
        Number of COPY requests.
    """

    if_exists: IfExists
    other_columns: bool
    geometry: bool
    pieces: int

    def __str__(self) -> str:
        kind = "new" if self.if_exists == "fail" else self.if_exists
        columns = "-other-columns" if self.other_columns else ""
        return f"{kind}{columns}-{'geometry' if self.geometry else 'plain'}-{self.pieces}"

    def frames(self, version: int, *, turned: bool = False) -> list[pd.DataFrame]:
        """Make the rows of a version, in as many frames as there are to be pieces; ``turned`` has the other columns."""
        size = ROWS // self.pieces
        return [self._frame(version, turned, range(size * piece, size * (piece + 1))) for piece in range(self.pieces)]

    def _frame(self, version: int, turned: bool, numbers: range) -> pd.DataFrame:
        columns: dict[str, Any] = {"number": list(numbers), "version": [version] * len(numbers)}
        # All versions have the same length, so that the bytes of one tell where to break another.
        text = [f"row {number} of version {version:05d} {'é' * (number % 40)}" for number in numbers]
        if turned:
            # Neither of the two types can store values of the other, so that each replace changes the column.
            columns["version"] = [pd.Timestamp(2000, 1, 1) + pd.Timedelta(days=version)] * len(numbers)
            columns |= {"title": text, "half": [number / 2 for number in numbers]}
        else:
            columns["label"] = text
        if not self.geometry:
            return pd.DataFrame(columns)
        points = gpd.points_from_xy([number - 90 for number in numbers], [version % 90] * len(numbers))
        frame: pd.DataFrame = gpd.GeoDataFrame(columns, geometry=points, crs=4326)
        return frame

    @property
    def key(self) -> str | None:
        """The key of an upsert."""
        return "number" if self.if_exists == "upsert" else None

    def rows(self, version: int, *, turned: bool = False) -> Rows:
        """Say what a table that holds this version shows."""
        found: Rows = Counter()
        for frame in self.frames(version, turned=turned):
            places = list(frame.geometry.to_wkt(rounding_precision=0)) if self.geometry else [None] * len(frame)
            plain = pd.DataFrame(frame).drop(columns="geometry", errors="ignore")
            records = cast("list[dict[str, Any]]", plain.to_dict("records"))
            for row, place in zip(records, places, strict=True):
                found[tuple(sorted({**row, "the_geom": place and place.replace(" (", "(")}.items()))] += 1
        return found


_KINDS: list[tuple[IfExists, bool]] = [
    ("fail", False),
    ("replace", False),
    ("replace", True),
    ("append", False),
    ("upsert", False),
    ("delete_rows", False),
]
MODES = [
    Mode(if_exists, other_columns, geometry, pieces)
    for if_exists, other_columns in _KINDS
    for geometry in (False, True)
    for pieces in (1, 3)
]


class Database:
    """Looks into the tables of an account behind the back of its API."""

    def __init__(self, carto: LocalCarto) -> None:
        self._dsn = carto.dsn
        self.connection = self.connect()

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        """Open a connection of its own."""
        # Nothing is prepared: the columns of the table change.
        return psycopg.connect(self._dsn, autocommit=True, row_factory=dict_row, prepare_threshold=None)

    def rows(self) -> Rows | None:
        """Read the table; None if there is none. Also proves that no id is there twice."""
        (found,) = self.connection.execute("SELECT to_regclass('public.t') IS NOT NULL AS it").fetchall()
        if not found["it"]:
            return None
        rows = self.connection.execute("SELECT *, ST_AsText(the_geom) AS the_geom FROM public.t").fetchall()
        assert len({row["cartodb_id"] for row in rows}) == len(rows)
        return Counter(
            tuple(sorted((name, value) for name, value in row.items() if name not in _KEPT_OUT)) for row in rows
        )

    def drop(self) -> None:
        """Drop the table."""
        self.connection.execute("DROP TABLE IF EXISTS public.t")

    def forget_first(self) -> None:
        """Take out the rows with the smallest numbers."""
        self.connection.execute("DELETE FROM public.t WHERE number < %s", (FIRST,))

    def forget(self, version: int) -> None:
        """Take out the rows of a version."""
        self.connection.execute("DELETE FROM public.t WHERE version = %s", (version,))

    def leftovers(self) -> list[str]:
        """List staging tables."""
        query = sql.SQL("SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, {})")
        return [row["relname"] for row in self.connection.execute(query.format(sql.Literal(staging_names.PREFIX)))]

    def drop_staging(self) -> None:
        """Drop all staging tables, as somebody might who cleans up."""
        for name in self.leftovers():
            self.connection.execute(sql.SQL("DROP TABLE IF EXISTS public.{}").format(sql.Identifier(name)))

    def settle(self) -> None:
        """Wait until no request is at work."""
        query = (
            "SELECT pg_stat_clear_snapshot(), count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND state <> 'idle' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        while self.connection.execute(query).fetchall()[0]["n"]:
            time.sleep(0.002)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
