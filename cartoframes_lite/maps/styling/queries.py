"""Queries of a layer: those that its style is expected to need are sent in one request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite.errors import APIError

_MAX_QUERY_CHARACTERS = 30_000  # the query is part of each of the others, whose sum must not exceed 1 MB


class LayerQueries:
    """Queries of a layer, with the results of those that were sent before they were needed.

    Parameters
    ----------
    client : Client
    sql : str
        Query of the layer.
    """

    def __init__(self, client: Client, sql: str) -> None:
        self._client, self._sql = client, sql
        self._results: dict[str, list[dict[str, Any]]] = {}

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query; send it unless it was prefetched."""
        found = self._results.get(query)
        return self._client.sql.rows(query) if found is None else found

    def row(self, query: str) -> dict[str, Any]:
        """Return the only row of a query, as ``rows`` does."""
        [row] = self.rows(query)
        return row

    def prefetch(self, expected: Mapping[str, str | None]) -> dict[str, str] | None:
        """Send queries in one request, which also returns the columns of the layer.

        Parameters
        ----------
        expected : mapping of str to (str or None)
            The queries, each with the SQL condition under which it is needed. None: always.

        Returns
        -------
        dict or None
            Types of the columns by name. None: the request failed, for example because one of the queries is invalid;
            each query is then sent when it is needed, and raises its own error.
        """
        if len(self._sql) > _MAX_QUERY_CHARACTERS:
            return None
        names = {query: f" result {number} " for number, query in enumerate(expected)}  # not plausible as column names
        values = {name: _as_json(query, expected[query]) for query, name in names.items()}
        try:
            columns, results = self._client.sql.columns_and_values(f"({self._sql}\n) AS source", "source", values)
        except APIError:
            return None
        for query, name in names.items():
            if results[name] is not None:
                self._results[query] = results[name]
            elif expected[query] is None:  # there are no rows
                self._results[query] = []
        return {column.name: column.pgtype for column in columns}


def _as_json(query: str, condition: str | None) -> str:
    """Compose the expression of all rows of a query as JSON; NULL if there are none, or the condition is not true."""
    rows = f"(SELECT json_agg(result) FROM ({query}\n) AS result)"
    return rows if condition is None else f"CASE WHEN {condition} THEN {rows} END"
