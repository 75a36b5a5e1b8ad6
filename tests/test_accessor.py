from __future__ import annotations

import gc
import inspect
import pickle
import weakref

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

import cartoframes_lite as cfl
from cartoframes_lite._codec import whole_tables


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


@pytest.fixture
def table(credentials):
    frame = gpd.GeoDataFrame(
        {"n": range(100), "name": ["a", None] * 50}, geometry=gpd.points_from_xy(range(100), range(100)), crs=4326
    )
    cfl.to_carto(frame, "t", credentials, privacy="private")
    return cfl.read_carto("t", credentials)


DERIVED = {
    "filter": lambda t: t[t["n"] > 5],
    "all rows": lambda t: t[t["n"] >= 0],
    "query": lambda t: t.query("n > 5"),
    "head": lambda t: t.head(),
    "copy": lambda t: t.copy(),
    "assign": lambda t: t.assign(n=1),
    "columns": lambda t: t[["n", "the_geom"]],
    "plain": pd.DataFrame,
    "set_geometry": lambda t: t.set_geometry(t.translate(1, 1)),
    "to_crs": lambda t: t.to_crs(3857),
    "merge": lambda t: t.merge(pd.DataFrame({"n": [1], "other": [2]}), on="n"),
    "concat": lambda t: pd.concat([t, t]),
    "dissolve": lambda t: t.dissolve("name"),
    "pickle": lambda t: pickle.loads(pickle.dumps(t)),
}
CHANGED = {
    "new column": lambda t: t.__setitem__("other", 1),
    "dropped column": lambda t: t.drop(columns="name", inplace=True),
    "dropped rows": lambda t: t.drop(index=range(50), inplace=True),
    "values": lambda t: t.__setitem__("n", t["n"] * 2),
    "geometries": lambda t: t.__setitem__("the_geom", t.translate(1, 1)),
    "order": lambda t: t.sort_values("n", ascending=False, inplace=True),
    "index": lambda t: t.set_index("name", inplace=True),
    "active geometry": lambda t: (t.__setitem__("g", t.translate(1, 1)), t.set_geometry("g", inplace=True)),
}


def check_not_the_table(frame):
    if isinstance(frame, gpd.GeoDataFrame):
        assert repr(frame.carto.map()) == "<Map of GeoDataFrames>"  # its own rows, without the server
    for use in (
        lambda: setattr(frame.carto, "privacy", "public"),
        lambda: frame.carto.privacy,
        lambda: frame.carto.sync,
    ):
        with pytest.raises(cfl.CartoError, match=r"not the table 't': .*Dataset\('t'\)|neither read from a table"):
            use()


def test_derived_frames_do_not_stand_for_the_table(table, credentials):
    for derive in DERIVED.values():
        check_not_the_table(derive(table))
        assert table.carto.privacy == "private"


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # deprecated by pandas 3.1
def test_changed_frames_do_not_stand_for_the_table(table, credentials):
    for change in CHANGED.values():
        frame = cfl.read_carto("t", credentials)
        assert frame.carto.privacy == "private"
        change(frame)
        check_not_the_table(frame)


def test_a_frame_with_all_rows_stands_for_the_table(table, credentials):
    for options in ({"columns": ["n"]}, {"index_col": "n"}, {"decode_geom": False}, {"dtype_backend": "pyarrow"}):
        frame = cfl.read_carto("t", credentials, **options)
        frame.carto.privacy = "link"
        assert frame.carto.privacy == "link"
        assert frame.carto.sync is None


def test_a_part_read_from_a_table_does_not_stand_for_it(table, credentials):
    for part in (cfl.read_carto("t", credentials, limit=5), *cfl.read_carto("t", credentials, chunksize=60)):
        assert part.carto.dataset.name == "t"
        with pytest.raises(cfl.CartoError, match="it is a part"):
            part.carto.privacy = "public"


def test_a_written_frame_stands_for_its_table_unless_appended(table, credentials):
    frame = gpd.GeoDataFrame({"n": [1]}, geometry=gpd.points_from_xy([0], [0]), crs=4326)
    frame.carto.to_table("t", credentials, if_exists="append")
    with pytest.raises(cfl.CartoError, match="was appended to it"):
        frame.carto.privacy = "public"
    frame.carto.to_table("u", credentials)
    frame.carto.privacy = "public"
    frame.loc[0, "n"] = 2
    with pytest.raises(cfl.CartoError, match="its values were changed"):
        frame.carto.privacy = "private"
    for if_exists in ("replace", "delete_rows"):
        frame.carto.to_table("u", credentials, if_exists=if_exists)
        frame.carto.privacy = "private"


def test_frames_are_not_kept_alive(credentials):
    frame = pd.DataFrame({"n": [1]})
    cfl.to_carto(frame, "t", credentials)
    reference = weakref.ref(frame)
    del frame
    gc.collect()
    assert reference() is None
    assert all(snapshot.frame() is not None for snapshot in whole_tables._snapshots.values())


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": []}),
        pd.DataFrame([[1, [2]], [{"b": 3}, np.nan]], columns=["a", "a"]),
        gpd.GeoDataFrame({"a": [1]}, geometry=[None]),
    ],
    ids=["nothing", "no rows", "repeated names", "no geometry"],
)
def test_any_frame_can_be_marked(frame):
    whole_tables.mark_whole(frame)
    assert whole_tables.describe_difference(frame) is None


def test_tables_with_dates_after_the_year_9999(credentials):
    frame = cfl.read_carto("SELECT '20000-01-01'::timestamp AS t", credentials)
    assert len(frame) == 1
