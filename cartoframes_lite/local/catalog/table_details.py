"""Descriptions and tags of tables in the tables API, separate from those of datasets."""

from __future__ import annotations

from collections.abc import Mapping

from cartoframes_lite.local.catalog.visualizations import Visualization
from cartoframes_lite.local.state import State


class TableDetails:
    """Descriptions and tags of the account's tables, kept as long as their datasets.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def description(self, dataset: Visualization) -> str | None:
        """Return the description of the table of a dataset."""
        with self._state.admin() as connection:
            row = connection.execute(
                "SELECT description FROM cartodb_local.table_details WHERE dataset_id = %s", (dataset.id,)
            ).fetchone()
        return None if row is None else row["description"]

    def set(self, dataset: Visualization, details: Mapping[str, str | None]) -> None:
        """Set the ``description`` and the ``tags``, separated by commas, of the table of a dataset."""
        values = {
            "id": dataset.id,
            "description": details.get("description"),
            "tags": details.get("tags"),
            "has_description": "description" in details,
            "has_tags": "tags" in details,
        }
        with self._state.admin() as connection:
            connection.execute(
                "INSERT INTO cartodb_local.table_details AS old VALUES (%(id)s, %(description)s, %(tags)s)"
                " ON CONFLICT (dataset_id) DO UPDATE SET"
                " description = CASE WHEN %(has_description)s THEN excluded.description ELSE old.description END,"
                " tags = CASE WHEN %(has_tags)s THEN excluded.tags ELSE old.tags END",
                values,
            )
