from __future__ import annotations

import inspect
import time

import geopandas as gpd
import pandas as pd
import pytest
import shapely

import cartoframes_lite as cfl


@pytest.fixture
def dataset(credentials):
    cfl.to_carto(pd.DataFrame({"n": [1, 2]}), "numbers", credentials)
    return cfl.Dataset("numbers", credentials)


def test_creating_a_dataset_sends_no_request():
    assert cfl.Dataset("t", cfl.Credentials("ann", "key")).name == "t"


@pytest.mark.parametrize("name", [".numbers", "numbers.", ".", "", None, 5])
def test_invalid_table_names_raise(name, dataset, credentials):
    with pytest.raises((TypeError, ValueError), match="table name"):
        cfl.Dataset(name, credentials)
    assert cfl.list_tables(credentials) == ["numbers"]


def test_the_repr_does_not_contain_the_key(dataset, credentials):
    assert credentials.api_key not in repr(dataset)


def test_columns(dataset):
    assert dataset.columns() == {
        "cartodb_id": "int8",
        "the_geom": "geometry",
        "the_geom_webmercator": "geometry",
        "n": "int8",
    }


def test_read_and_append(dataset):
    dataset.append(pd.DataFrame({"n": [3]}))
    assert sorted(dataset.read(columns=["n"])["n"]) == [1, 2, 3]


def test_append_requires_a_normalized_table_name(credentials):
    cfl.Client(credentials).sql.send('CREATE TABLE "Big" (a bigint)')
    with pytest.raises(ValueError, match=r"cannot append to 'Big': .* rename it to 'big' first"):
        cfl.Dataset("Big", credentials).append(pd.DataFrame({"a": [1]}))
    assert cfl.list_tables(credentials) == ["Big"]


def test_a_missing_table_raises_without_waiting(credentials, monkeypatch):
    monkeypatch.setattr("cartoframes_lite._client.visualizations._REGISTRATION_TIMEOUT_S", 600.0)
    begun = time.monotonic()
    for use in (lambda d: d.privacy, lambda d: d.info(), lambda d: setattr(d, "privacy", "public")):
        with pytest.raises(cfl.TableNotFoundError):
            use(cfl.Dataset("typo", credentials))
    assert time.monotonic() - begun < 300


def test_rename_and_delete(dataset, credentials):
    renamed = dataset.rename("Digits")
    assert renamed == cfl.Dataset("digits", credentials)
    renamed.delete()
    assert cfl.list_tables(credentials) == []


def test_privacy(dataset):
    assert dataset.privacy == "private"
    dataset.privacy = "public"
    assert dataset.privacy == "public"


@pytest.mark.parametrize(
    "use",
    [lambda d: d.read(), lambda d: d.columns(), lambda d: d.delete(), lambda d: d.append(pd.DataFrame({"a": [1]}))],
)
def test_methods_raise_for_a_missing_table(use, credentials):
    with pytest.raises(cfl.TableNotFoundError, match="'nope'"):
        use(cfl.Dataset("nope", credentials))
    assert cfl.list_tables(credentials) == []


def test_read_takes_all_keywords_of_read_carto(dataset):
    of_function = inspect.signature(cfl.read_carto).parameters
    of_method = inspect.signature(cfl.Dataset.read).parameters
    assert set(of_function) - set(of_method) == {"source", "credentials"}
    assert all(of_method[name].default == of_function[name].default for name in of_method if name != "self")


def test_reading_by_chunks_with_an_index(dataset):
    chunks = list(dataset.read(chunksize=1, index_col="cartodb_id", columns=["cartodb_id", "n"]))
    assert [len(chunk) for chunk in chunks] == [1, 1]
    assert [chunk.index.name for chunk in chunks] == ["cartodb_id"] * 2
    assert dataset.read(schema="public", where="n = 2")["n"].tolist() == [2]
    with pytest.raises(ValueError, match="not the schema of the dataset"):
        cfl.Dataset("public.numbers", dataset.credentials).read(schema="other")


def test_the_first_rows(dataset):
    assert len(dataset.head()) == 2
    assert len(dataset.head(1)) == 1
    assert len(dataset.head(n=0)) == 0
    for n in (-1, 1.5, True, None):
        with pytest.raises((TypeError, ValueError)):
            dataset.head(n)


def test_the_number_of_rows(dataset, credentials):
    assert len(dataset) == 2
    cfl.execute("DELETE FROM numbers", credentials=credentials)
    assert len(dataset) == 0
    assert dataset  # its truth value is not the number of rows, and sends no request
    with pytest.raises(cfl.TableNotFoundError):
        len(cfl.Dataset("nope", credentials))


def test_bounds(dataset, credentials):
    assert dataset.bounds is None
    points = gpd.GeoDataFrame(geometry=[shapely.Point(0.1, 48.86), shapely.Point(2.35, -1 / 3), None], crs=4326)
    places = cfl.Dataset(cfl.to_carto(points, "places", credentials), credentials)
    assert places.bounds == (0.1, -1 / 3, 2.35, 48.86)
    cfl.execute("CREATE TABLE meters (the_geom geometry(Point, 3857))", credentials=credentials)
    cfl.execute("INSERT INTO meters SELECT ST_Transform(the_geom, 3857) FROM places", credentials=credentials)
    assert cfl.Dataset("meters", credentials).bounds == pytest.approx(places.bounds)
    plain = cfl.to_carto(pd.DataFrame({"n": [1]}), "plain", credentials, cartodbfy=False)
    with pytest.raises(ValueError, match="no column 'the_geom'"):
        _ = cfl.Dataset(plain, credentials).bounds
