from __future__ import annotations

import time

import pandas as pd
import pytest

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
