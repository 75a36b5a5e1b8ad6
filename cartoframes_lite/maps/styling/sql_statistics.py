"""Statistics of a column of a query, computed by the server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from cartoframes_lite._codec.names import quote
from cartoframes_lite.maps.styling.queries import LayerQueries
from cartoframes_lite.maps.styling.statistics import MAX_DISTINCT, ColumnKind, Group, Summary

SAMPLED_ROWS = 100_000
"""Quantiles and natural breaks of more values are those of an even sample of about this size."""

_FIRST_ROWS = 10_000
_KINDS: dict[str, ColumnKind] = {
    **dict.fromkeys(("int2", "int4", "int8"), "integer"),
    **dict.fromkeys(("numeric", "float4", "float8"), "number"),
    "bool": "boolean",
    "date": "date",
    **dict.fromkeys(("timestamp", "timestamptz"), "datetime"),
}


def kind_of_pgtype(pgtype: str) -> ColumnKind:
    """Return what the values of a column are."""
    return _KINDS.get(pgtype, "text")


def number_sql(column: str, kind: ColumnKind) -> str:
    """Return the SQL expression of a value as float8; of dates and times, seconds since 1970-01-01 UTC."""
    is_time = kind in ("date", "datetime")
    return f"extract(epoch FROM {quote(column)})::float8" if is_time else f"{quote(column)}::float8"


def text_sql(column: str) -> str:
    """Return the SQL expression of a value as text."""
    return f"{quote(column)}::text"


def is_finite_sql(number: str) -> str:
    """Return the SQL condition that a float8 is finite; NULL for NULL."""
    return f"{number} NOT IN ('NaN', 'Infinity', '-Infinity')"


class SQLStatistics:
    """Statistics of a column of a query; the values themselves are not downloaded.

    Parameters
    ----------
    queries : LayerQueries
    query : str
    name : str
    pgtype : str
        PostgreSQL's type of the column.
    """

    def __init__(self, queries: LayerQueries, query: str, name: str, pgtype: str) -> None:
        self._queries, self._query = queries, query
        self.name = name
        self.kind = kind_of_pgtype(pgtype)

    @cached_property
    def summary(self) -> Summary:
        """Figures of the values."""
        row = self._row(self.summary_sql)
        count, distinct = int(row["count"]), int(row["distinct_values"])
        limits = float(row["minimum"] or 0), float(row["maximum"] or 0)
        return Summary(count, int(row["rows"]) - count, distinct, *limits)

    @property
    def summary_sql(self) -> str:
        """The query for the summary."""
        if self.kind in ("text", "boolean"):
            return (
                "SELECT count(*) AS rows, count(v) AS count, NULL AS minimum, NULL AS maximum,"
                f" {self._distinct} AS distinct_values FROM {self._texts}"
            )
        rows = f"(SELECT {number_sql(self.name, self.kind)} AS v FROM ({self._query}\n) AS source) AS numbers"
        return (
            f"SELECT count(v) AS count, min(v) AS minimum, max(v) AS maximum, (SELECT count(*) FROM {rows}) AS rows,"
            f" {self._distinct} AS distinct_values FROM {self._finite}"
        )

    @property
    def _distinct(self) -> str:
        """The SQL expression of the number of distinct values."""
        is_text = self.kind in ("text", "boolean")
        return _distinct_sql(f"{self._texts} WHERE v IS NOT NULL" if is_text else self._finite)

    @property
    def is_small_sql(self) -> str:
        """The SQL condition that there are so few rows that no sample is needed."""
        return f"NOT EXISTS (SELECT FROM ({self._query}\n) AS source OFFSET {SAMPLED_ROWS})"

    def mean_and_std(self) -> tuple[float, float]:
        """Return the mean and the sample standard deviation of the finite values."""
        row = self._row(f"SELECT avg(v) AS mean, stddev_samp(v) AS std FROM {self._finite}")
        return float(row["mean"] or 0), float(row["std"] or 0)

    def quantiles(self, fractions: Sequence[float], *, absolute: bool = False) -> list[float]:
        """Return quantiles of the finite values, or of their distances from zero; interpolated linearly."""
        value = "abs(v)" if absolute else "v"
        listed = ", ".join(map(repr, fractions))
        row = self._row(
            f"SELECT percentile_cont(ARRAY[{listed}]::float8[]) WITHIN GROUP (ORDER BY {value}) AS quantiles"
            f" FROM {self._sample}"
        )
        return [float(value) for value in row["quantiles"] or ()]

    def groups(self, most: int) -> list[Group]:
        """Return the finite values in ascending order, in groups of about the same size; equal values together."""
        rows = self._rows(
            f"SELECT max(v) AS top, sum(v / n * c) AS mean, n AS size FROM ("
            f"SELECT v, c, part, sum(c) OVER (PARTITION BY part) AS n FROM ("
            f"SELECT v, c, CASE WHEN number_of_values <= {most} THEN place"
            f" ELSE floor(before * {most} / total) END AS part FROM ("
            "SELECT v, c, row_number() OVER ascending AS place, count(*) OVER () AS number_of_values,"
            " sum(c) OVER ascending - c AS before, sum(c) OVER () AS total FROM ("
            f"SELECT v, count(*) AS c FROM {self._sample} GROUP BY v) AS counted WINDOW ascending AS (ORDER BY v)"
            ") AS placed) AS parts) AS sized GROUP BY part, n ORDER BY 1"
        )
        return [Group(float(row["top"]), float(row["mean"]), int(row["size"])) for row in rows]

    def frequent_texts(self, most: int) -> list[tuple[str, int]]:
        """Return the most frequent values as text, with their numbers; equally frequent ones in order."""
        rows = self._rows(
            f"SELECT v AS value, count(*) AS count FROM {self._texts}"
            f' WHERE v IS NOT NULL GROUP BY v ORDER BY 2 DESC, v COLLATE "C" LIMIT {most}'
        )
        return [(str(row["value"]), int(row["count"])) for row in rows]

    def frequent_numbers(self, most: int) -> list[tuple[float, int]]:
        """Return the most frequent finite values, with their numbers; equally frequent ones in order."""
        rows = self._rows(
            f"SELECT v AS value, count(*) AS count FROM {self._finite} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {most}"
        )
        return [(float(row["value"]), int(row["count"])) for row in rows]

    @property
    def _finite(self) -> str:
        """The finite values as an item of a FROM clause with the column ``v``."""
        number = number_sql(self.name, self.kind)
        return f"(SELECT {number} AS v FROM ({self._query}\n) AS source WHERE {is_finite_sql(number)}) AS finite"

    @property
    def _texts(self) -> str:
        """The values as text, as an item of a FROM clause with the column ``v``."""
        return f"(SELECT {text_sql(self.name)} AS v FROM ({self._query}\n) AS source) AS texts"

    @property
    def _sample(self) -> str:
        """The finite values, or of many an even sample, as an item of a FROM clause with the column ``v``."""
        step = -(-self.summary.count // SAMPLED_ROWS)
        if step <= 1:
            return self._finite
        numbered = f"(SELECT v, row_number() OVER () AS place FROM {self._finite}) AS numbered"
        return f"(SELECT v FROM {numbered} WHERE place % {step} = 0) AS sample"

    def _rows(self, query: str) -> list[dict[str, Any]]:
        return self._queries.rows(query)

    def _row(self, query: str) -> dict[str, Any]:
        return self._queries.row(query)


def _distinct_sql(source: str) -> str:
    """Return the SQL expression of the number of distinct values; of many, only the first rows are compared."""

    def count(rows: str) -> str:
        return f"(SELECT count(*) FROM (SELECT DISTINCT v FROM {rows} LIMIT {MAX_DISTINCT}) AS d)"

    first = count(f"(SELECT v FROM {source} LIMIT {_FIRST_ROWS}) AS first_rows")
    return f"CASE WHEN {first} >= {MAX_DISTINCT} THEN {MAX_DISTINCT} ELSE {count(source)} END"
