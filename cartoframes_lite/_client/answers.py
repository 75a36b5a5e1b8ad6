"""Members of answers, as Python has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any


def moment(value: Any) -> datetime | None:
    """Read a point of time; without an offset it is UTC."""
    if not value:
        return None
    found = datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def integer(value: Any) -> int | None:
    """Read a whole number, which some answers have as text."""
    return None if value is None or value == "" else int(value)


def members(record: Any) -> dict[str, Any]:
    """Give the fields of a record by name, for a class that adds to it."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def given(**values: Any) -> dict[str, Any]:
    """Leave out what is None."""
    return {name: value for name, value in values.items() if value is not None}


def text(answer: Mapping[str, Any], name: str) -> str | None:
    """Read a text that may be missing, null or empty."""
    value = answer.get(name)
    return str(value) if value not in (None, "") else None
