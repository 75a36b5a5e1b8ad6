"""The queries that the classes of a column are expected to need, before anything is known about its values.

The classification itself is run with typical figures, and its queries are recorded. If the figures are others, it
needs other queries, which are then sent on their own. Of many rows, only the figures are queried, since queries that
are not needed would take longer than a round trip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from cartoframes_lite.maps.styling.classification import classify
from cartoframes_lite.maps.styling.options import LayerOptions
from cartoframes_lite.maps.styling.queries import LayerQueries
from cartoframes_lite.maps.styling.sql_statistics import SQLStatistics
from cartoframes_lite.maps.styling.statistics import MAX_DISTINCT, Summary
from cartoframes_lite.maps.styling.themes import Theme

_MANY = Summary(1000, 0, MAX_DISTINCT, 1.0, 100.0)
_ON_BOTH_SIDES = Summary(1000, 0, MAX_DISTINCT, -100.0, 100.0)
_FEW = Summary(1000, 0, 2, 1.0, 2.0)


class _Recorder(SQLStatistics):
    """Statistics with typical figures, and without values, that record the queries."""

    def __init__(self, queries: LayerQueries, query: str, name: str, pgtype: str, typical: Summary) -> None:
        super().__init__(queries, query, name, pgtype)
        self.recorded: list[str] = []
        self._typical = typical

    @cached_property
    def summary(self) -> Summary:
        return self._typical

    def _rows(self, query: str) -> list[dict[str, Any]]:
        self.recorded.append(query)
        return []

    def _row(self, query: str) -> dict[str, Any]:
        self.recorded.append(query)
        return defaultdict(lambda: None)


def expected_queries(
    queries: LayerQueries, query: str, options: LayerOptions, types: Mapping[str, str], theme: Theme
) -> dict[str, str | None]:
    """Return the queries that the words of a layer are expected to need, each with its condition.

    Parameters
    ----------
    queries : LayerQueries
    query : str
        Query of the layer.
    options : LayerOptions
    types : mapping
        Types of its columns by name.
    theme : {"light", "dark"}
    """
    expected: dict[str, str | None] = {}
    if (size_by := options["size_by"]) is not None:
        expected[SQLStatistics(queries, query, size_by, types[size_by]).summary_sql] = None
    if (color_by := options["color_by"]) is None:
        return expected

    statistics = SQLStatistics(queries, query, color_by, types[color_by])
    expected[statistics.summary_sql] = None
    for typical in (_MANY, _ON_BOTH_SIDES, _FEW):
        recorder = _Recorder(queries, query, color_by, types[color_by], typical)
        with suppress(ValueError):  # raised again, or not, with the figures of the values
            classify(recorder, options, theme)
        for recorded in recorder.recorded:
            expected.setdefault(recorded, statistics.is_small_sql)
    return expected
