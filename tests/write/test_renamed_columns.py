"""Columns whose names in the table differ from their labels."""

from __future__ import annotations

import warnings

import dask.dataframe as dd
import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.dask

FRAME = pd.DataFrame({"Name": ["x"], "A b": [1], 2020: [1.5], "kept": [1]}).rename_axis("The index")


def write_frame(credentials):
    cfl.to_carto(FRAME, "t", credentials, index=True, progress=False)


def write_iterable(credentials):
    cfl.to_carto(iter([FRAME] * 3), "t", credentials, index=True, progress=False)


def write_accessor(credentials):
    FRAME.carto.to_table("t", credentials, index=True, progress=False)


def write_partitions(credentials):
    cfl.dask.to_carto(dd.from_pandas(FRAME, npartitions=1), "t", credentials, index=True)


@pytest.mark.parametrize("write", [write_frame, write_iterable, write_accessor, write_partitions])
def test_renamed_columns_are_reported_once(write, credentials):
    with pytest.warns(cfl.ConversionWarning) as caught:
        write(credentials)
    (message,) = [str(warning.message) for warning in caught]
    assert "{'The index': 'the_index', 'Name': 'name', 'A b': 'a_b', 2020: '_2020'}" in message
    assert "kept" not in message
    assert list(cfl.read_carto("t", credentials, columns=["the_index", "name", "a_b", "_2020", "kept"])["a_b"])


def test_the_warning_points_at_the_call(credentials):
    with pytest.warns(cfl.ConversionWarning) as caught:
        cfl.to_carto(FRAME, "t", credentials, progress=False)
    assert caught[0].filename == __file__


def test_the_active_geometry_is_renamed_without_a_warning(credentials):
    frame = gpd.GeoDataFrame({"a": [1]}, geometry=gpd.points_from_xy([1], [2]), crs=4326)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cfl.to_carto(frame, "t", credentials, progress=False)
        cfl.to_carto(frame.rename_geometry("Shape"), "t", credentials, if_exists="append", progress=False)
