from __future__ import annotations

import inspect

import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl


def test_to_table_returns_a_dataset(credentials):
    frame = pd.DataFrame({"n": [1, 2]})
    dataset = frame.carto.to_table("Numbers", credentials)
    assert dataset == cfl.Dataset("numbers", credentials)
    assert frame.carto.dataset == dataset


def test_the_dataset_keeps_its_account(credentials):
    with cfl.set_default_credentials(credentials):
        dataset = pd.DataFrame({"n": [1]}).carto.to_table("t")
        renamed = cfl.Dataset("t").rename("u")
    assert dataset.credentials == renamed.credentials == credentials
    assert len(renamed.read()) == 1


def test_a_frame_of_the_schema_of_the_account(credentials, tmp_path):
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    dataset = cfl.read_carto("t", credentials, schema="public").carto.dataset
    dataset.append(pd.DataFrame({"n": [2]}))
    assert dataset.columns()["n"] == "int8"
    assert pd.read_csv(dataset.to_file(tmp_path / "t.csv"))["n"].tolist() == [1, 2]
    assert dataset.rename("u").name == "u"
    cfl.Dataset("public.u", credentials).delete()
    assert cfl.list_tables(credentials) == []


def test_geodataframes_have_the_accessor(credentials):
    frame = gpd.GeoDataFrame({"n": [1]}, geometry=gpd.points_from_xy([0], [0]), crs=4326)
    frame.carto.to_table("places", credentials, if_exists="replace")
    back = cfl.read_carto("places", credentials)
    assert back.carto.dataset.columns()["n"] == "int8"
    assert back[back["n"] > 0].carto.dataset.name == "places"


def test_to_table_with_default_credentials(credentials):
    with cfl.set_default_credentials(credentials):
        dataset = pd.DataFrame({"n": [1]}).carto.to_table("t")
        assert len(dataset.read()) == 1


@pytest.mark.parametrize("frame", [pd.DataFrame(), gpd.GeoDataFrame()])
def test_a_frame_without_table_has_no_dataset(frame):
    with pytest.raises(cfl.CartoError, match="to_table"):
        frame.carto.dataset  # noqa: B018  # the property raises


def test_a_frame_from_a_query_has_no_dataset(credentials):
    frame = cfl.read_carto("SELECT 1 AS a", credentials)
    with pytest.raises(cfl.CartoError, match="neither read from a table nor written"):
        frame.carto.dataset  # noqa: B018  # the property raises


def test_to_table_has_the_keywords_of_to_carto():
    ours = list(inspect.signature(cfl.CartoAccessor.to_table).parameters.values())[1:]
    theirs = list(inspect.signature(cfl.to_carto).parameters.values())[1:]
    assert [(p.name, p.default) for p in ours[1:]] == [(p.name, p.default) for p in theirs[1:]]
    assert "Parameters" in (cfl.CartoAccessor.to_table.__doc__ or "")


def test_a_frame_of_another_schema(credentials):
    cfl.Client(credentials).sql.send("CREATE SCHEMA IF NOT EXISTS other; CREATE TABLE other.t AS SELECT 1 AS a")
    cfl.to_carto(pd.DataFrame({"b": [1, 2]}), "t", credentials)
    dataset = cfl.read_carto("t", credentials, schema="other").carto.dataset
    assert dataset.read()["a"].tolist() == [1]
    with pytest.raises(cfl.TableNotFoundError):
        dataset.delete()
    assert cfl.read_carto("t", credentials).carto.dataset == cfl.Dataset("t", credentials)
    cfl.Client(credentials).sql.send("DROP SCHEMA other CASCADE")


def test_the_default_account_does_not_replace_another(credentials):
    frame = cfl.read_carto("SELECT 1 AS a", credentials)
    frame.attrs["carto"] = {"base_url": "https://gone.carto.com", "username": "gone", "table": "t", "schema": None}
    with (
        cfl.set_default_credentials(credentials),
        pytest.raises(cfl.CartoError, match=r"https://gone\.carto\.com, and no credentials for it are in use"),
    ):
        frame.carto.dataset  # noqa: B018  # the property raises
