"""Datasets and maps for the tests of the catalog."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
ONE_ROW = "SELECT 1 AS i"


def query(call: Call, q: str, **arguments: Any) -> Any:
    """Send SQL and return the response, whatever its status."""
    return call("POST", "/api/v2/sql", {"q": q}, **arguments)


def make_dataset(call: Call, name: str, rows: str = ONE_ROW, **changes: Any) -> Any:
    """Create a cartodbfied table from a query, change its dataset, and return the dataset with all parts."""
    made = query(call, f"CREATE TABLE {name} AS {rows}; SELECT CDB_CartodbfyTable('{name}')")
    assert made.status == 200, made.body
    shown = call("GET", f"/api/v1/viz/{name}", show_permission="true")
    assert shown.status == 200, shown.body
    return change(call, shown.json, **changes) if changes else shown.json


def make_map(call: Call, name: str, *tables: str, **members: Any) -> Any:
    """Create a map of tables, or an empty one."""
    made = call("POST", "/api/v1/viz", {"name": name, **({"tables": list(tables)} if tables else {}), **members})
    assert made.status == 200, made.body
    return made.json


def put(call: Call, one: Any, **changes: Any) -> Any:
    """Send changes of a dataset or map and return the response, whatever its status."""
    return call("PUT", f"/api/v1/viz/{one['id']}", {"id": one["id"], **changes})


def change(call: Call, one: Any, **changes: Any) -> Any:
    """Change a dataset or map and return it."""
    changed = put(call, one, **changes)
    assert changed.status == 200, changed.body
    return changed.json
