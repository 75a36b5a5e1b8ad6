"""Update datasets and maps: all changes of a request are validated before any is applied."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg

from cartoframes_lite.local.catalog import dataset_tables
from cartoframes_lite.local.catalog.passwords import hash_password
from cartoframes_lite.local.catalog.visualizations import (
    DATASET_PRIVACIES,
    DETAILS,
    MAP_PRIVACIES,
    Catalog,
    MissingPasswordError,
    Visualization,
)
from cartoframes_lite.local.state import State


class ForbiddenError(ValueError):
    """The account's plan does not allow the change."""


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
        ``name``, ``privacy``, ``password`` and the keys in `DETAILS`; other keys are ignored. As in CARTO, an
        invalid name for a table is ignored, too.

    Returns
    -------
    Visualization
        The updated dataset or map.

    Raises
    ------
    ForbiddenError, InvalidError
        If a change is invalid; none is applied.
    """
    privacy = None if changes.get("privacy") is None else check_privacy(state, visualization, changes["privacy"])
    details = check_details(visualization, changes)
    if details:
        catalog.update_details(visualization.id, details)
    if privacy is not None:
        try:
            catalog.set_privacy(visualization.id, privacy)
        except MissingPasswordError as error:
            raise InvalidError(str(error)) from error
    name = changes.get("name")
    if visualization.is_dataset and name and name != visualization.name:
        with suppress(dataset_tables.InvalidNameError, psycopg.Error):
            dataset_tables.rename(state, *visualization.table, name)
    return catalog.find(visualization.id)


def check_privacy(state: State, visualization: Visualization | None, privacy: object) -> str:
    """Validate the privacy of a dataset or map (None: a new map) and return it in lower case.

    Raises
    ------
    ForbiddenError, InvalidError
    """
    requested = str(privacy).lower()
    allowed = DATASET_PRIVACIES if visualization is not None and visualization.is_dataset else MAP_PRIVACIES
    if requested not in allowed:
        raise InvalidError(f"invalid privacy {requested!r}: use one of {', '.join(sorted(allowed))}")
    if requested == "private" and not state.plan.private_datasets:
        raise ForbiddenError("the account's plan does not allow private datasets and maps")
    return requested


def check_details(visualization: Visualization | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Validate changes to a dataset or map (None: a new map) and return the values to store.

    Raises
    ------
    InvalidError
        If a value has the wrong type.
    """
    is_map = visualization is None or not visualization.is_dataset
    reasons = []
    details = {key: changes[key] for key in DETAILS if key in changes}
    for key, value in details.items():
        is_valid = {
            "tags": isinstance(value, list) and all(isinstance(tag, str) for tag in value),
            "locked": isinstance(value, bool),
            "kind": isinstance(value, str) and bool(value),
            "transition_options": isinstance(value, Mapping),
        }.get(key, value is None or isinstance(value, str))
        if not is_valid:
            reasons.append(f"invalid value {value!r} for {key}")
    name = changes.get("name")
    if name is not None and not (isinstance(name, str) and name.strip()):
        reasons.append("name can't be blank")
    elif name is not None and is_map:
        details["name"] = name
    password = changes.get("password")
    if password is not None and is_map:
        if isinstance(password, str) and password:
            details["password_hash"] = hash_password(password)
        else:
            reasons.append("password can't be blank")
    if any("\x00" in str(value) for value in details.values()):
        reasons.append("text must not contain NUL characters")
    if reasons:
        raise InvalidError(*reasons)
    return details
