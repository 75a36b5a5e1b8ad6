"""Tags of datasets and maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cartoframes_lite.local.catalog.visualizations import Catalog

VALID_TYPES = ("table", "derived", "slide", "remote", "kuviz", "app")
_COUNTERS = {"table": "datasets", "derived": "maps", "remote": "data_library"}


def count_tags(catalog: Catalog, types: Sequence[str], words: Sequence[str]) -> list[dict[str, Any]]:
    """Count the uses of tags, in lower case; the most used one first.

    Parameters
    ----------
    catalog : Catalog
    types : sequence of str
        Types of visualizations to count.
    words : sequence of str
        Only tags that contain one of these; none means all.
    """
    with catalog.up_to_date() as connection:
        rows = connection.execute(
            "SELECT lower(tag) AS tag, type, count(*) AS number FROM cartodb_local.visualizations, unnest(tags) tag"
            " WHERE type = ANY(%s) GROUP BY 1, 2",
            (list(types),),
        ).fetchall()
    counters: dict[str, dict[str, int]] = {}
    for row in rows:
        if not words or any(word.lower() in row["tag"] for word in words):
            counters.setdefault(row["tag"], dict.fromkeys(types, 0))[row["type"]] = row["number"]
    ordered = sorted(counters.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return [
        {"tag": tag, **{_COUNTERS.get(name, name): number for name, number in numbers.items()}}
        for tag, numbers in ordered
    ]
