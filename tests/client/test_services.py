"""The methods of the services of ``Client`` take and return public types."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import cartoframes_lite as cfl
from cartoframes_lite import errors

PAGES = Path(__file__).parents[2] / "docs/api"


def services() -> dict[str, object]:
    client = cfl.Client(cfl.Credentials("ann", base_url="http://localhost/user/ann"))
    return {name: service for name, service in vars(client).items() if name != "credentials"}


METHODS = {
    f"{service_name}.{name}": method
    for service_name, service in services().items()
    for name, method in inspect.getmembers(service, callable)
    if not name.startswith("_")
}


def types_in(hint: Any) -> Iterator[type]:
    """Yield the classes of the package in a type hint, and those of the fields of its dataclasses."""
    for argument in get_args(hint):
        for part in argument if isinstance(argument, list) else [argument]:
            yield from types_in(part)
    found = get_origin(hint) or hint
    if isinstance(found, type) and found.__module__.startswith("cartoframes_lite"):
        yield found
        if is_dataclass(found) and found is not cfl.Credentials:
            for field in get_type_hints(found).values():
                yield from types_in(field)


def test_all_services_are_found() -> None:
    expected = {
        "sql",
        "copy",
        "batch",
        "imports",
        "syncs",
        "visualizations",
        "exports",
        "maps",
        "publications",
        "users",
    }
    assert {name.partition(".")[0] for name in METHODS} == {*expected, "api_keys"}


@pytest.mark.parametrize("name", METHODS)
def test_the_types_of_a_method_are_public(name: str) -> None:
    method: Callable[..., Any] = METHODS[name]
    pages = "".join(page.read_text() for page in PAGES.glob("*.md"))
    for hint in get_type_hints(method).values():
        for found in types_in(hint):
            assert getattr(cfl, found.__name__, None) is found
            assert found.__name__ in cfl.__all__
            described = re.search(rf"^\.\. autoclass:: {found.__name__}\b", pages, re.MULTILINE)
            assert described or found.__name__ in errors.__all__  # the page of errors lists all there are
