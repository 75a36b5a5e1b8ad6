from __future__ import annotations

import inspect
import re

import dask.dataframe as dd
import pandas as pd
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.dask
from cartoframes_lite.accessor import CartoAccessor

KEYWORDS = {
    "if_exists": "fail",
    "key": None,
    "geom_col": None,
    "lnglat": None,
    "index": False,
    "index_label": None,
    "dtype": None,
    "cartodbfy": True,
    "privacy": None,
    "compression": "auto",
}
WITH_PROGRESS = KEYWORDS | {"progress": None}
WRITERS = [(cfl.to_carto, WITH_PROGRESS), (CartoAccessor.to_table, WITH_PROGRESS), (cfl.dask.to_carto, KEYWORDS)]
FRAME = pd.DataFrame({"a": [1]})
NO_SERVER = cfl.Credentials(base_url="http://127.0.0.1:9/user/none", api_key="none")


@pytest.mark.parametrize(("writer", "keywords"), WRITERS, ids=["to_carto", "to_table", "dask"])
def test_the_signature_and_the_docstring_show_all_keywords(writer, keywords):
    parameters = inspect.signature(writer).parameters
    shown = {name: parameters[name].default for name in keywords}
    assert shown == keywords
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in keywords)
    described = re.findall(r"^(\w+) : ", writer.__doc__, re.MULTILINE)
    assert set(keywords) <= set(described)
    assert "**keywords" not in writer.__doc__


@pytest.mark.parametrize("name", ["to_carto", "CartoAccessor.to_table", "dask"])
def test_an_unknown_keyword_is_refused_before_any_request(name):
    calls = {
        "to_carto": lambda: cfl.to_carto(FRAME, "t", NO_SERVER, if_exist="append"),
        "CartoAccessor.to_table": lambda: FRAME.carto.to_table("t", NO_SERVER, if_exist="append"),
        "dask": lambda: cfl.dask.to_carto(dd.from_pandas(FRAME, npartitions=1), "t", NO_SERVER, if_exist="append"),
    }
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'if_exist'"):
        calls[name]()
