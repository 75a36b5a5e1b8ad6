"""Number of requests and round trips of Datasets, tables and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl
from tests.delay_proxy import DelayProxy

ROUND_TRIP_S = 0.15  # long enough for a busy machine to send several requests at the same time
FRAME = gpd.GeoDataFrame(
    {"name": list("abcde") * 4, "height": [n / 7 - 1 for n in range(20)], "year": range(20), "floors": [1, 2] * 10},
    geometry=gpd.points_from_xy(range(20), range(20)),
    crs=4326,
)

Call = Callable[[cfl.Credentials], object]


@pytest.fixture
def account(credentials):
    cfl.to_carto(FRAME, "t", credentials, privacy="private")
    return credentials


@pytest.fixture
def through(account) -> Iterator[Callable[[float], tuple[DelayProxy, cfl.Credentials]]]:
    """Return a function that starts a proxy with a delay, and returns it and credentials that lead through it."""
    proxies = []

    def start(round_trip_s: float) -> tuple[DelayProxy, cfl.Credentials]:
        proxies.append(DelayProxy(account.base_url, round_trip_s))
        return proxies[-1], cfl.Credentials(api_key=account.api_key, base_url=proxies[-1].base_url)

    yield start
    for proxy in proxies:
        proxy.close()


def set_privacy(credentials: cfl.Credentials) -> None:
    cfl.Dataset("t", credentials).privacy = "link"


DATASETS: dict[str, tuple[int, Call]] = {
    "has_table": (1, lambda key: cfl.has_table("t", key)),
    "list_tables": (1, lambda key: cfl.list_tables(key)),
    "describe_table": (3, lambda key: cfl.describe_table("t", key)),
    "update_privacy_table": (3, lambda key: cfl.update_privacy_table("t", "public", key)),
    "rename_table": (2, lambda key: cfl.rename_table("t", "u", key)),
    "copy_table": (3, lambda key: cfl.copy_table("t", "u", key)),
    "create_table_from_query": (3, lambda key: cfl.create_table_from_query("SELECT * FROM t", "u", key)),
    "delete_table": (2, lambda key: cfl.delete_table("t", key)),
    "len": (1, lambda key: len(cfl.Dataset("t", key))),
    "columns": (1, lambda key: cfl.Dataset("t", key).columns()),
    "bounds": (1, lambda key: cfl.Dataset("t", key).bounds),
    "sync": (1, lambda key: cfl.Dataset("t", key).sync),
    "info": (2, lambda key: cfl.Dataset("t", key).info()),
    "privacy": (2, lambda key: cfl.Dataset("t", key).privacy),
    "set privacy": (3, set_privacy),
    "update": (3, lambda key: cfl.Dataset("t", key).update(tags=["new"])),
    "rename": (2, lambda key: cfl.Dataset("t", key).rename("u")),
    "delete": (3, lambda key: cfl.Dataset("t", key).delete()),
    "delete force": (2, lambda key: cfl.Dataset("t", key).delete(force=True)),
}


@pytest.mark.parametrize(("expected", "call"), DATASETS.values(), ids=DATASETS)
def test_number_of_requests_of_datasets(expected, call, through):
    proxy, credentials = through(0.0)
    call(credentials)
    assert len(proxy.requests) == expected, proxy.requests


STYLES = {
    "no style": {},
    "text": {"color_by": "name"},
    "numbers on both sides of zero": {"color_by": "height"},
    "integers": {"color_by": "year"},
    "few integers": {"color_by": "floors"},
    "sizes and popup": {"color_by": "height", "size_by": "year", "popup": True},
    "natural breaks": {"color_by": "height", "scheme": "natural_breaks"},
    "standard deviations": {"color_by": "height", "scheme": "std_mean", "k": 4},
}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_number_of_requests_of_a_map(style, through, monkeypatch):
    monkeypatch.setattr("cartoframes_lite.maps.token_maps._temporary", {("", ""): None})  # not the first of a process
    proxy, credentials = through(0.0)
    shown = cfl.Map(cfl.Layer("t", **style), credentials)
    assert len(proxy.requests) == 1
    assert "<iframe" in shown._repr_mimebundle_()["text/html"]
    paths = sorted(path.partition("/api/")[2].partition("/center/")[0] for _, path in proxy.requests)
    # Columns, figures and extent; with and without key; the named map with a token, and the picture.
    assert paths == ["v1/map", "v1/map", "v1/map/named", "v1/map/static", "v2/sql", "v2/sql", "v2/sql"]


def test_round_trips_with_open_connections(through):
    proxy, credentials = through(ROUND_TRIP_S)
    layers = [cfl.Layer("t", color_by="height"), cfl.Layer("t", size_by="year")]
    cfl.Map(layers, credentials)._repr_mimebundle_()

    def round_trips(call: Callable[[], object]) -> int:
        proxy.reset()
        call()
        assert proxy.connections == 0
        return proxy.round_trips

    dataset = cfl.Dataset("t", credentials)
    assert round_trips(dataset.info) == 1
    assert round_trips(lambda: cfl.Map(layers[0], credentials)._repr_mimebundle_()) == 4
    assert round_trips(lambda: cfl.Map(layers, credentials)._repr_mimebundle_()) == 4
    assert round_trips(lambda: dataset.map(color_by="name")._repr_mimebundle_()) == 4
    assert round_trips(cfl.Map(layers, credentials).tile_url) == 2
    assert round_trips(dataset.delete) == 2


def test_missing_tables_are_named(through):
    _, credentials = through(0.0)
    missing = cfl.Dataset("tt_", credentials)
    calls = (lambda: len(missing), missing.columns, lambda: missing.bounds, missing.info, missing.map, missing.delete)
    for call in calls:
        with pytest.raises(cfl.TableNotFoundError, match="there is no table 'tt_'"):
            call()
    for layer in (cfl.Layer("tt_"), cfl.Layer("tt_", color_by="name")):
        with pytest.raises(cfl.TableNotFoundError, match="there is no table 'tt_'"):
            cfl.Map(layer, credentials)


def test_indexes_are_not_tables(account):
    index = cfl.Dataset("t_pkey", account)
    for call in (index.columns, index.info, index.delete, lambda: index.rename("u"), lambda: len(index)):
        with pytest.raises(cfl.TableNotFoundError, match="there is no table 't_pkey'"):
            call()


def test_tables_of_other_schemas_are_not_found(credentials):
    catalog = cfl.Dataset("pg_class", credentials)
    for call in (lambda: len(catalog), catalog.columns):
        with pytest.raises(cfl.TableNotFoundError, match="there is no table 'pg_class'"):
            call()


def test_a_map_shows_the_current_columns(account):
    shown = cfl.Dataset("t", account).map(color_by="floors")
    cfl.execute("ALTER TABLE t ALTER floors TYPE text USING 'f' || floors, DROP name, ADD note text", None, account)
    (layer,) = shown._source.layers()
    assert layer.popup == ("height", "year", "floors", "note")
    assert [item.label for item in shown.legend] == ["f1", "f2"]


def test_bounds_of_a_plain_table_with_mixed_srids(account):
    points = "VALUES ('SRID=4326;POINT(1 2)'::geometry), (ST_Transform('SRID=4326;POINT(3 4)'::geometry, 3857)), (NULL)"
    cfl.execute(f"CREATE TABLE mixed AS SELECT column1 AS the_geom FROM ({points}) AS v", None, account)
    assert cfl.Dataset("mixed", account).bounds == pytest.approx((1, 2, 3, 4))
    cfl.to_carto(pd.DataFrame({"n": [1]}), "plain", account, cartodbfy=False)
    with pytest.raises(ValueError, match="has no column 'the_geom'"):
        _ = cfl.Dataset("plain", account).bounds


def test_a_failing_column_raises_its_own_error(account):
    cfl.execute("CREATE VIEW odd AS SELECT *, 1 / (cartodb_id - cartodb_id) AS broken FROM t", None, account)
    shown = cfl.Map(cfl.Layer("odd", color_by="broken"), account)
    with pytest.raises(cfl.SQLError, match="division by zero"):
        shown._repr_mimebundle_()
