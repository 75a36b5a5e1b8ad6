"""Update datasets and maps: all changes of a request are validated before any is applied."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg

from cartoframes_lite.local.catalog import dataset_tables, names
from cartoframes_lite.local.catalog.passwords import hash_password
from cartoframes_lite.local.catalog.visualizations import DETAILS, PRIVACIES, Catalog, Visualization, is_uuid
from cartoframes_lite.local.state import State


class ForbiddenError(ValueError):
    """The privacy is invalid, or the account's plan does not allow it. Each argument is one reason."""


class InvalidError(ValueError):
    """Changes are invalid. Each argument is one reason."""


def apply_changes(
    state: State, catalog: Catalog, visualization: Visualization, changes: Mapping[str, Any]
) -> Visualization:
    """Apply changes to a dataset or map.

    Parameters
    ----------
    state : State
    catalog : Catalog
    visualization : Visualization
    changes : mapping
        ``name``, ``privacy``, ``password`` and the keys in `DETAILS`; other keys are ignored. The name of a dataset
        is sanitized, and the dataset keeps its name if PostgreSQL cannot rename the table.

    Returns
    -------
    Visualization
        The updated dataset or map.

    Raises
    ------
    ForbiddenError, InvalidError
        If a change is invalid; none is applied.
    """
    reasons, details = _check_details(changes)
    privacy_reasons: list[str] = []
    privacy = visualization.privacy
    if "privacy" in changes:
        privacy_reasons, privacy = _check_privacy(state, visualization, changes["privacy"])
    password = changes.get("password")
    password_hash = hash_password(password) if isinstance(password, str) and password else None
    if privacy == "password" and password_hash is None and visualization.password_hash is None:
        reasons.append("Password required for protected visualization")
    if privacy_reasons:
        raise ForbiddenError(*reasons, *privacy_reasons)
    if reasons:
        raise InvalidError(*reasons)
    if "name" in changes and not visualization.is_dataset:
        details["name"] = changes["name"]
    if details:
        catalog.update_details(visualization.id, details)
    if privacy != visualization.privacy or (privacy == "password" and password_hash is not None):
        catalog.set_privacy(visualization.id, privacy, password_hash)
    if "name" in changes and visualization.is_dataset:
        _rename_table(state, catalog, visualization, changes["name"])
    return catalog.find(visualization.id)


def check_details(visualization: Visualization | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Validate changes to metadata and return the values to store.

    Raises
    ------
    InvalidError
        If a value is invalid.
    """
    reasons, details = _check_details(changes)
    if reasons:
        raise InvalidError(*reasons)
    return details


def check_privacy(state: State, visualization: Visualization | None, privacy: object) -> str:
    """Validate the privacy of a dataset or map (None: a new map) and return it in lower case.

    Raises
    ------
    ForbiddenError
    """
    reasons, checked = _check_privacy(state, visualization, privacy)
    if reasons:
        raise ForbiddenError(*reasons)
    return checked


def _check_privacy(state: State, visualization: Visualization | None, privacy: object) -> tuple[list[str], str]:
    """Return the reasons why a privacy is not allowed, and the privacy in lower case."""
    requested = "" if privacy is None else str(privacy).lower()
    blank = [] if requested.strip() else ["Privacy can't be blank"]
    if requested not in PRIVACIES:
        return [*blank, "Privacy is not included in the list"], requested
    is_changed = visualization is None or visualization.privacy != requested
    if requested == "private" and is_changed and not state.plan.private_datasets:
        return ["Privacy cannot be set to private"], requested
    return [], requested


def _check_details(changes: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the reasons why changes are invalid, and the values to store."""
    reasons = []
    details = {key: changes[key] for key in DETAILS if key in changes}
    if details.get("tags", ()) is None:
        details["tags"] = []
    for key in ("locked", "transition_options", "version", "updated_at"):
        if details.get(key, key) is None:
            del details[key]
    for key, value in details.items():
        is_valid = {
            "tags": isinstance(value, list) and all(isinstance(tag, str) for tag in value),
            "locked": isinstance(value, bool),
            "kind": isinstance(value, str) and bool(value),
            "transition_options": isinstance(value, Mapping),
            "version": isinstance(value, int) and 1 <= value <= 3,
            "active_layer_id": value is None or (isinstance(value, str) and is_uuid(value)),
        }.get(key, value is None or isinstance(value, str))
        if not is_valid:
            reasons.append(f"invalid value {value!r} for {key}")
    name = changes.get("name", "unchanged")
    if name is None or (isinstance(name, str) and not name.strip()):
        reasons.append("Name can't be blank")
    elif not isinstance(name, str):
        reasons.append(f"invalid value {name!r} for name")
    if any("\x00" in str(value) for value in (*details.values(), name)):
        reasons.append("text must not contain NUL characters")
    if not reasons and "tags" in details:
        details["tags"] = [tag for tag in details["tags"] if tag.strip()]
    if not reasons and "updated_at" in details:
        details["updated_at"] = _parse_time(details["updated_at"])
    return reasons, {key: value for key, value in details.items() if key != "updated_at" or value is not None}


def _parse_time(text: str) -> datetime | None:
    """Return a time in ISO 8601, in UTC by default; None for other text, which CARTO ignores."""
    with suppress(ValueError):
        time = datetime.fromisoformat(text.strip().removesuffix("UTC").rstrip().replace("Z", "+00:00"))
        return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return None


def _rename_table(state: State, catalog: Catalog, dataset: Visualization, name: str) -> None:
    """Rename the table of a dataset to the sanitized name; do nothing if PostgreSQL cannot rename it."""
    if names.sanitize_table(name) == dataset.name:
        return
    taken = catalog.dataset_names() - {dataset.name}
    with suppress(psycopg.Error):
        dataset_tables.rename(state, *dataset.table, names.free_table_name(name, taken))
