"""Warnings name the line of the caller, whatever happens in between."""

from __future__ import annotations

import pandas as pd
import pytest

import cartoframes_lite as cfl

INFINITE = "SELECT 'infinity'::timestamp AS t"
RENAMED = pd.DataFrame({"a b": [1]})

CALLS = {
    "read_carto": lambda: cfl.read_carto(INFINITE),
    "read_carto by chunks": lambda: list(cfl.read_carto(INFINITE, chunksize=1)),
    "to_carto": lambda: cfl.to_carto(RENAMED, "renamed"),
    "to_table": lambda: RENAMED.carto.to_table("renamed"),
    "append": lambda: cfl.Dataset("existing").append(RENAMED),
    "credentials": lambda: cfl.Credentials("ann", "key", base_url="https://example.org/user/ann", verify=False),
}


@pytest.mark.parametrize("name", CALLS)
def test_warning_names_the_caller(name, credentials):
    with cfl.set_default_credentials(credentials):
        cfl.to_carto(pd.DataFrame({"a_b": [1]}), "existing")
        with pytest.warns(cfl.CartoWarning) as warned:
            CALLS[name]()
    assert {warning.filename for warning in warned} == {__file__}
