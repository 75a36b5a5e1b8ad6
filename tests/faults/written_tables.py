"""What is written under faults: frames that tell their version in each row, and a look at what became of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import geopandas as gpd
import pandas as pd
import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from tally import TALLY

import cartoframes_lite as cfl
from cartoframes_lite import _staging
from cartoframes_lite.local import LocalCarto

TABLE = "t"
ROWS = 60
_KEPT_OUT = ("cartodb_id", "the_geom_webmercator")

Rows = Counter[tuple[tuple[str, Any], ...]]


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to write.

    Attributes
    ----------
    if_exists : {"fail", "replace", "append"}
        ``fail`` writes a new table.
    other_columns : bool
        What is written has another type of one column, a column more and a column fewer than the table.
    geometry : bool
    pieces : int
        Number of COPY requests.
    """

    if_exists: Literal["fail", "replace", "append"]
    other_columns: bool
    geometry: bool
    pieces: int

    def __str__(self) -> str:
        kind = {"fail": "new", "replace": "replace", "append": "append"}[self.if_exists]
        columns = "-other-columns" if self.other_columns else ""
        return f"{kind}{columns}-{'geometry' if self.geometry else 'plain'}-{self.pieces}"

    def frames(self, version: int, *, turned: bool = False) -> list[pd.DataFrame]:
        """Make the rows of a version, in as many frames as there are to be pieces; ``turned`` has the other columns."""
        size = ROWS // self.pieces
        return [self._frame(version, turned, range(size * piece, size * (piece + 1))) for piece in range(self.pieces)]

    def _frame(self, version: int, turned: bool, numbers: range) -> pd.DataFrame:
        columns: dict[str, Any] = {"number": list(numbers), "version": [version] * len(numbers)}
        text = [f"row {number} of version {version} {'é' * (number % 40)}" for number in numbers]
        if turned:
            columns["version"] = [str(version)] * len(numbers)
            columns |= {"title": text, "half": [number / 2 for number in numbers]}
        else:
            columns["label"] = text
        if not self.geometry:
            return pd.DataFrame(columns)
        points = gpd.points_from_xy([number - 90 for number in numbers], [version % 90] * len(numbers))
        return gpd.GeoDataFrame(columns, geometry=points, crs=4326)

    def rows(self, version: int, *, turned: bool = False) -> Rows:
        """Say what a table that holds this version shows."""
        found: Rows = Counter()
        for frame in self.frames(version, turned=turned):
            places = list(frame.geometry.to_wkt(rounding_precision=0)) if self.geometry else [None] * len(frame)
            plain = pd.DataFrame(frame).drop(columns="geometry", errors="ignore")
            for row, place in zip(plain.to_dict("records"), places, strict=True):
                found[tuple(sorted({**row, "the_geom": place and place.replace(" (", "(")}.items()))] += 1
        return found


MODES = [
    Mode(if_exists, other_columns, geometry, pieces)
    for if_exists, other_columns in (("fail", False), ("replace", False), ("replace", True), ("append", False))
    for geometry in (False, True)
    for pieces in (1, 3)
]


class Database:
    """Looks into the tables of an account behind the back of its API."""

    def __init__(self, carto: LocalCarto) -> None:
        # Nothing is prepared: the columns of the table change.
        self.connection = psycopg.connect(carto.dsn, autocommit=True, row_factory=dict_row, prepare_threshold=None)

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

    def forget(self, version: int) -> None:
        """Take out the rows of a version."""
        self.connection.execute("DELETE FROM public.t WHERE version = %s", (version,))

    def leftovers(self) -> list[str]:
        """List staging tables."""
        query = sql.SQL("SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, {})")
        return [row["relname"] for row in self.connection.execute(query.format(sql.Literal(_staging.PREFIX)))]

    def settle(self) -> None:
        """Wait until no request is at work."""
        query = (
            "SELECT pg_stat_clear_snapshot(), count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND state <> 'idle' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        while self.connection.execute(query).fetchall()[0]["n"]:
            pass

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class Trial:
    """One write after the other under faults, each with a version of its own; what follows is looked at each time.

    Attributes
    ----------
    turned : bool
        Whether it is the turn of the other columns.
    """

    def __init__(self, mode: Mode, database: Database, through: cfl.Credentials, direct: cfl.Credentials) -> None:
        self._mode, self._database, self._through, self._direct = mode, database, through, direct
        self._version, self.turned = 0, False
        self._old: Rows | None = None
        database.drop()
        if mode.if_exists != "fail":
            self._write(direct)
            self._accept(mode.rows(0))
        self._seen = database.rows()
        assert self._seen == self._old

    def _write(self, credentials: cfl.Credentials) -> None:
        frames = self._mode.frames(self._version, turned=self.turned)
        source = frames[0] if self._mode.pieces == 1 else iter(frames)
        cfl.to_carto(source, TABLE, credentials, if_exists=self._mode.if_exists, progress=False)

    def _accept(self, new: Rows) -> None:
        """Let what was written be what the next write meets."""
        self._old = new
        self.turned = self._mode.other_columns and not self.turned

    def run(self) -> cfl.CartoError | None:
        """Write the next version through the proxy, which knows what is to happen; return how the call ended."""
        assert self._database.rows() == self._seen  # nothing has come after the last look
        self._version += 1
        try:
            self._write(self._through)
        except cfl.CartoError as error:  # anything else is no typed error, and fails the test
            return error
        return None

    def judge(self, error: cfl.CartoError | None) -> None:
        """Compare the table with what the end of the call says; then make it the old one of the next write."""
        self._database.settle()
        is_open = isinstance(error, _staging.PublishUnknown)
        if is_open:  # a publish may still come, until the next write
            self.sweep()
        new = self._mode.rows(self._version, turned=self.turned)
        if self._mode.if_exists == "append":
            new = (self._old or Counter()) + new
        found = self._database.rows()
        allowed = [new] if error is None else [self._old, new] if is_open else [self._old]
        self._count(found, allowed, error)
        self.sweep()
        if found == new and self._mode.if_exists == "append":
            self._database.forget(self._version)
        elif found == new and self._mode.if_exists == "replace":
            self._accept(new)
        elif found == new:
            self._database.drop()
        self._seen = self._database.rows()
        assert self._seen == self._old

    def _count(self, found: Rows | None, allowed: list[Rows | None], error: Exception | None) -> None:
        TALLY.faults += 1
        TALLY.survived += error is None
        if found not in allowed:
            promised = allowed[0] or Counter()
            there = found or Counter()
            lost, doubled = (promised - there).total(), (there - promised).total()
            TALLY.rows_lost += lost
            TALLY.rows_doubled += doubled
            raise AssertionError(f"{lost} rows are missing, {doubled} are too many after {error!r}")

    def sweep(self) -> None:
        """Prove that the next write, of this process and to any table, removes what has been left behind."""
        if not self._database.leftovers():
            return
        cfl.to_carto(pd.DataFrame({"a": [1]}), "another", self._direct, if_exists="replace", progress=False)
        left = self._database.leftovers()
        TALLY.leftovers += len(left)
        assert left == []
