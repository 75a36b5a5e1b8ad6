from __future__ import annotations

import copy
import pickle
import re

import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl
from cartoframes_lite._client.listing import Listing


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [
        [re.sub(r"</?a\b[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows
    ]


def test_datasets_are_shown_as_one_table(credentials: cfl.Credentials) -> None:
    frame = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([0, 1], [0, 1]), crs=4326)
    cfl.to_carto(frame, "a", credentials, privacy="link")
    cfl.to_carto(pd.DataFrame({"n": [1]}), "b", credentials)
    cfl.Dataset("b", credentials).update(description="<b>")
    datasets = cfl.list_datasets(credentials)
    assert isinstance(datasets, list)
    assert datasets == [cfl.Dataset("a", credentials), cfl.Dataset("b", credentials)]
    header, first, second = cells(datasets._repr_html_())
    assert header == ["name", "privacy", "rows", "size", "geometry", "description", "updated"]
    assert first[:2] == ["a", "link"]
    assert first[4] == "Point"
    assert second[5] == "&lt;b&gt;"
    assert [row[0] for row in cells(datasets[1:]._repr_html_())] == ["name", "b"]
    assert f"<a href='{credentials.base_url}/tables/a' " in datasets._repr_html_()
    datasets.append(cfl.Dataset("c", credentials))
    assert "3 datasets" in datasets._repr_html_()
    assert cells(datasets._repr_html_())[3][0] == "c"
    assert str(credentials.api_key) not in datasets._repr_html_()


def test_api_keys_are_shown_as_one_table(credentials: cfl.Credentials) -> None:
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    api_keys = cfl.Client(credentials).api_keys
    created = api_keys.create("a <b>", tables={"t": "r"}, create_tables=True)
    shown = api_keys.list()._repr_html_()
    header, *rows = cells(shown)
    by_name = {row[0]: row for row in rows}
    assert header == ["name", "type", "APIs", "tables", "creates tables in", "created"]
    assert by_name["a &lt;b&gt;"][:5] == ["a &lt;b&gt;", "regular", "sql, maps", "public.t (select)", "public"]
    assert by_name.keys() == {"a &lt;b&gt;", "Default public", "Master"}
    for token in (created.token, str(credentials.api_key)):
        assert token not in shown + created._repr_html_()
    assert "API key a &lt;b&gt;" in created._repr_html_()


def test_users_are_shown_as_one_table(credentials: cfl.Credentials) -> None:
    users = cfl.Client(credentials).users
    organization = users.me().organization
    assert organization is not None
    bob = users.add_to_organization(organization.name, username="bob", email="bob@example.com", password="pa55-word")
    rows = cells(users.of_organization(organization.name)._repr_html_())
    assert rows[0][:2] == ["name", "email"]
    assert ["bob", "bob@example.com"] in [row[:2] for row in rows]
    assert "User bob" in bob._repr_html_()


def test_lists_of_services_are_tables(credentials: cfl.Credentials) -> None:
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    client = cfl.Client(credentials)
    assert cells(client.visualizations.list("table")._repr_html_())[1][0] == "t"
    assert "0 maps" in client.visualizations.list("derived")._repr_html_()
    assert "0 synchronizations" in client.syncs.list()._repr_html_()


@pytest.mark.parametrize("again", [lambda found: pickle.loads(pickle.dumps(found)), copy.copy, copy.deepcopy])
def test_copies_of_lists_are_plain(credentials: cfl.Credentials, again) -> None:
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    for found in (cfl.list_datasets(credentials), cfl.list_tables(credentials)):
        assert again(found) == found
        assert type(again(found)) is list


def test_other_lists_are_shown_as_one_table(credentials: cfl.Credentials) -> None:
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    cfl.Client(credentials).visualizations.create_map(["t"], name="Map")
    assert cells(cfl.list_tables(credentials)._repr_html_()) == [["name"], ["t"]]
    assert cells(cfl.list_visualizations(credentials)._repr_html_())[1][0] == "Map"
    assert cfl.list_syncs(credentials)._repr_html_() == "<div><b>0 synchronizations</b></div>"
    assert "0 imports" in cfl.list_imports(credentials)._repr_html_()
    assert "0 named maps" in cfl.NamedMap.list(credentials)._repr_html_()


def test_a_long_list_is_shown_in_part() -> None:
    shown = Listing(range(100), "numbers", lambda number: {"n": number})._repr_html_()
    assert len(cells(shown)) == 61
    assert "and 40 more" in shown
