"""CARTO's catalog: lists, descriptions, sharing, dependent maps, exports."""

from __future__ import annotations

import dataclasses
import re
import warnings
import zipfile

import geopandas as gpd
import pandas as pd
import pytest
import requests
from requests.adapters import HTTPAdapter

import cartoframes_lite as cfl
from cartoframes_lite._client import nonpublic

REMOTE = "http://carto.test"
FRAME = gpd.GeoDataFrame({"name": ["A", "B"]}, geometry=gpd.points_from_xy([20, 30], [10.5, -10]), crs=4326)


class ToLoopback(HTTPAdapter):
    """Sends the requests for another host to a server on loopback."""

    def __init__(self, root):
        super().__init__()
        self.root = root

    def send(self, request, **arguments):
        request.url = request.url.replace(REMOTE, self.root)
        return super().send(request, **arguments)


def with_remote_name(credentials):
    """Return credentials for the same server under the name of a remote host."""
    root, _, user = credentials.base_url.partition("/user/")
    session = requests.Session()
    session.mount(REMOTE, ToLoopback(root))
    return cfl.Credentials(
        user, credentials.api_key, base_url=f"{REMOTE}/user/{user}", session=session, allow_non_secure=True
    )


@pytest.fixture
def dataset(credentials):
    return FRAME.carto.to_table("places", credentials)


def test_only_the_privacy_can_be_set(dataset):
    with pytest.raises(AttributeError):
        dataset.name = "other"
    with pytest.raises(AttributeError):
        dataset.privcy = "public"
    for privacy in ("public", "link", "private"):
        dataset.privacy = privacy
        assert dataset.privacy == privacy
    with pytest.raises(ValueError, match="'secret'"):
        dataset.privacy = "secret"


def test_privacy_right_after_writing(credentials):
    dataset = FRAME.carto.to_table("fresh", credentials, privacy="public")
    assert dataset.privacy == "public"


@pytest.mark.parametrize(
    "write",
    [
        lambda url, account: FRAME.carto.to_table("t", account, privacy="link"),
        lambda url, account: cfl.Dataset.from_url(url, account, sync_interval_s=900, privacy="link"),
        lambda url, account: setattr(cfl.Dataset("places", account), "privacy", "link"),
    ],
)
def test_nonpublic_api_warnings_precede_writes(write, dataset, credentials, file_server, monkeypatch):
    file_server.files["/t.csv"] = b"a\n1\n"
    monkeypatch.setattr(nonpublic, "_warned", set())
    with warnings.catch_warnings():
        warnings.simplefilter("error", cfl.NonPublicAPIWarning)
        with pytest.raises(cfl.NonPublicAPIWarning):
            write(f"{file_server.url}/t.csv", with_remote_name(credentials))
    assert cfl.list_tables(credentials) == ["places"]
    assert cfl.list_syncs(credentials) == []
    assert dataset.privacy == "private"


def test_info_and_update(dataset):
    changed = dataset.update(description="Two <places>", tags=["a", "b"], license="mit", attributions="Ann", title="T")
    info = dataset.info()
    times = {"created_at": info.created_at, "updated_at": info.updated_at}  # CARTO sends them without fractions
    assert info == dataclasses.replace(changed, **times)
    assert (info.name, info.kind, info.description, info.tags) == ("places", "table", "Two <places>", ("a", "b"))
    assert (info.license, info.attributions, info.title) == ("mit", "Ann", "T")
    assert info.size_bytes > 0
    assert info.geometry_types == ("ST_Point",)
    assert info.updated_at.tzinfo is not None
    assert dataset.update(tags=[]).tags == ()
    assert dataset.info().description == "Two <places>"
    assert "Two &lt;places&gt;" in dataset._repr_html_()


def test_links_in_notebooks_lead_to_pages(dataset, credentials):
    entry = cfl.Client(credentials).visualizations.create_map(["places"], name="A map")
    shown = [dataset, dataset.info(), entry, cfl.list_datasets(credentials), cfl.list_visualizations(credentials)]
    for one in shown:
        (url,) = re.findall("<a href='([^']*)' target='_blank' rel='noopener'>", one._repr_html_())
        page = requests.get(url, timeout=10)
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


def test_html_of_a_missing_dataset(credentials):
    assert cfl.Dataset("nope", credentials)._repr_html_().startswith("<code>Dataset(name=")


def test_list_datasets_with_filters(credentials):
    for name in ("b", "a", "c"):
        pd.DataFrame({"n": [1]}).carto.to_table(name, credentials)
    cfl.Dataset("b", credentials).update(tags=["x"], description="some words")
    cfl.Dataset("c", credentials).privacy = "public"

    def names(**filters):
        return [dataset.name for dataset in cfl.list_datasets(credentials, **filters)]

    assert names() == ["a", "b", "c"]
    assert names(tags=["x"]) == ["b"]
    assert names(search="words") == ["b"]
    cfl.Dataset("a", credentials).update(tags=["xy", "z, x"], description="no")
    cfl.Dataset("c", credentials).update(tags=["y", "words"])
    assert names(tags=["x"]) == ["b"]  # not a part of a tag
    assert names(tags=["x", "y"]) == ["b", "c"]
    assert names(tags=["z, x"]) == ["a"]
    assert names(search="words") == ["b", "c"]  # by name, though the tag ranks first
    assert names(privacy="public") == ["c"]
    anonymous = cfl.Credentials("tester", base_url=credentials.base_url)
    assert [dataset.name for dataset in cfl.list_datasets(anonymous)] == ["c"]
    assert cfl.list_datasets(credentials)[0] == cfl.Dataset("a", credentials)


def test_list_datasets_reads_all_pages(credentials, monkeypatch):
    names = [f"t{i:02}" for i in range(10)]
    monkeypatch.setattr("cartoframes_lite._client.visualizations._PAGE_SIZE", 4)
    cfl.Client(credentials).sql.send(
        ";".join(f"CREATE TABLE {name} (n int); SELECT CDB_CartodbfyTable('{name}')" for name in names)
    )
    assert [dataset.name for dataset in cfl.list_datasets(credentials)] == names


def test_delete_refuses_a_dataset_on_a_map(dataset, credentials):
    shown = cfl.Client(credentials).visualizations.create_map(["places"], name="Where")
    assert dataset.info().dependents == ("Where",)
    with pytest.raises(cfl.CartoError, match=r"1 maps show 'places' \(Where\): .*force=True"):
        dataset.delete()
    assert len(dataset.read()) == 2
    (found,) = cfl.list_visualizations(credentials)
    assert (found.id, found.kind) == (shown.id, "derived")
    found.delete()
    assert cfl.list_visualizations(credentials) == []
    dataset.delete()
    assert cfl.list_datasets(credentials) == []


def test_forced_delete_of_a_dataset_on_a_map(dataset, credentials):
    cfl.Client(credentials).visualizations.create_map(["places"])
    dataset.delete(force=True)
    assert cfl.list_tables(credentials) == []
    assert cfl.list_visualizations(credentials) == []


def test_delete_with_a_regular_key_requires_force(dataset, credentials):
    key = cfl.Client(credentials).api_keys.create("writer", tables={"places": "rw"}, create_tables=True)
    writer = cfl.Credentials("tester", key.token, base_url=credentials.base_url)
    own = FRAME.carto.to_table("own", writer)
    with pytest.raises(cfl.PermissionDenied, match=r"force=True"):
        own.delete()
    own.delete(force=True)
    assert cfl.list_tables(credentials) == ["places"]


def test_delete_of_a_dataset_visualization_raises(dataset):
    with pytest.raises(ValueError, match=r"Dataset\('places'\)\.delete"):
        dataset.info().delete()


def test_a_rename_says_the_name_it_led_to(dataset, credentials):
    FRAME.carto.to_table("taken", credentials)
    with pytest.raises(cfl.TableExistsError):
        dataset.rename("taken")
    identity = dataset.info().id
    with pytest.warns(cfl.NameTakenWarning, match="'places' is named 'taken_1' now") as caught:
        assert dataset.info().update(name="Taken").name == "taken_1"
    assert caught[0].filename == __file__
    assert cfl.list_tables(credentials) == ["taken", "taken_1"]
    renamed = cfl.Dataset("taken_1", credentials).rename("Other Places")
    assert (renamed.name, renamed.info().id) == ("other_places", identity)
    assert renamed.info().update(name="Café 1").name == "caf_1"
    assert cfl.Dataset("caf_1", credentials).info().id == identity


def test_the_privacy_of_a_map_is_that_of_its_tables(dataset, credentials):
    other = FRAME.carto.to_table("other", credentials, privacy="public")
    visualizations = cfl.Client(credentials).visualizations
    for privacy, shown in (("public", "public"), ("link", "link"), ("private", "private")):
        dataset.privacy = privacy
        assert visualizations.create_map([dataset.name, other.name]).privacy == shown
    assert visualizations.create_map(["places"], privacy="link").privacy == "link"
    assert visualizations.create_map(["places", "other"], privacy="private").privacy == "private"
    with pytest.raises(cfl.APIError, match="nope"):
        visualizations.create_map(["nope"])


def test_a_map_with_a_taken_name_is_numbered(dataset, credentials):
    visualizations = cfl.Client(credentials).visualizations
    assert [visualizations.create_map(["places"], name="Where").name for _ in range(2)] == ["Where", "Where 1"]
    assert {entry.name for entry in cfl.list_visualizations(credentials)} == {"Where", "Where 1"}


def test_share_with_users_and_organization(dataset, credentials, carto):
    client = cfl.Client(credentials)
    organization = client.users.me().organization.name
    client.users.add_to_organization(organization, username="bob", email="bob@example.com", password="pa55-word")
    bob = client.users.get("bob")
    assert dataset.permissions == ()
    dataset.share("bob", "rw")
    assert dataset.permissions == (cfl.Permission("user", bob.id, "bob", "rw"),)
    dataset.share(organization)
    assert {(item.name, item.access) for item in dataset.permissions} == {("bob", "rw"), (organization, "r")}
    dataset.share("bob", None)
    assert [item.kind for item in dataset.permissions] == ["org"]
    with pytest.raises(cfl.CartoError, match="'eve' is neither"):
        dataset.share("eve")
    with pytest.raises(ValueError, match="'x'"):
        dataset.share("bob", "x")
    dataset.share(organization, None)  # CARTO keeps a user with whom something is shared
    client.users.remove_from_organization(organization, "bob")
    assert [user.username for user in client.users.of_organization(organization)] == ["tester"]


def test_share_with_a_user_on_the_second_page(dataset, credentials):
    client = cfl.Client(credentials)
    organization = client.users.me().organization.name
    for name in ("amy", "bob", "zoe"):
        client.users.add_to_organization(organization, username=name, email=f"{name}@example.com", password="pa55-word")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cartoframes_lite._client.users._PAGE_SIZE", 2)
        assert [user.username for user in client.users.of_organization(organization)] == ["amy", "bob", "tester", "zoe"]
        (permission,) = dataset.share("zoe")
    assert (permission.name, permission.access) == ("zoe", "r")


def test_tables_of_listed_maps(dataset, credentials):
    FRAME.carto.to_table("more", credentials)
    client = cfl.Client(credentials)
    client.visualizations.create_map(["places", "more"], name="Both")
    client.visualizations.create_map(["more"], name="One")
    listed = cfl.list_visualizations(credentials)
    assert {entry.name: entry.tables for entry in listed} == {"Both": ("more", "places"), "One": ("more",)}
    assert [entry.refresh().tables for entry in listed] == [entry.tables for entry in listed]
    with pytest.raises(cfl.CartoError, match=r"2 maps show 'more' \("):
        cfl.Dataset("more", credentials).delete()
    cfl.Dataset("more", credentials).delete(force=True)
    assert [(entry.name, entry.tables) for entry in cfl.list_visualizations(credentials)] == [("Both", ("places",))]


def test_unknown_keys_list_nothing(dataset, credentials):
    dataset.privacy = "public"
    unknown = cfl.Credentials("tester", "unknown-key", base_url=credentials.base_url)
    with pytest.raises(cfl.AuthenticationError, match="check the api_key of Credentials"):
        cfl.list_datasets(unknown)
    with pytest.raises(cfl.AuthenticationError, match="check the api_key of Credentials"):
        cfl.Client(unknown).users.me()


@pytest.mark.parametrize("key", ["default_public", "unknown-key"])
def test_private_datasets_are_denied(key, dataset, credentials):
    visualizations = cfl.Client(cfl.Credentials("tester", key, base_url=credentials.base_url)).visualizations
    error = cfl.AuthenticationError if key == "unknown-key" else cfl.PermissionDenied
    with pytest.raises(error, match="check the api_key" if key == "unknown-key" else "requires the master key"):
        visualizations.find("places")


def test_a_table_with_the_name_of_a_map(dataset, credentials):
    client = cfl.Client(credentials)
    shown = client.visualizations.create_map(["places"], name="plain")
    client.sql.send("CREATE TABLE plain (n int)")
    assert client.visualizations.find("plain") is None
    assert client.visualizations.find(shown.id).name == "plain"
    cfl.Dataset("plain", credentials).delete()
    assert [entry.name for entry in cfl.list_visualizations(credentials)] == ["plain"]


def test_account_quotas(dataset, credentials):
    account = cfl.Client(credentials).users.me()
    assert account.username == "tester"
    assert account.used_bytes > 0
    assert account.remaining_bytes == account.quota_bytes - account.used_bytes
    assert account.table_count == 1
    assert "storage" in account._repr_html_()
    assert str(credentials.api_key) not in repr(account)
    assert cfl.Client(credentials).users.get("tester").username == "tester"


def test_export_datasets_and_maps(dataset, credentials, tmp_path):
    path = dataset.info().export(tmp_path / "places.carto", progress=False)
    assert cfl.list_visualizations(credentials) == []  # the map that was made for the export
    with zipfile.ZipFile(path) as archive:
        assert sorted(name.rpartition(".")[2] for name in archive.namelist()) == ["gpkg", "json"]
    again = cfl.Dataset.from_file(path, credentials)
    assert again.name == "places_1"
    assert again.read()["name"].tolist() == ["A", "B"]
    cfl.Client(credentials).visualizations.create_map(["places"], name="Where")
    (shown,) = cfl.list_visualizations(credentials)
    assert shown.export(tmp_path / "where.carto").stat().st_size > 1000
    assert "Map Where" in shown._repr_html_()


def test_export_of_a_deleted_map_leaves_no_file(dataset, credentials, tmp_path):
    info = dataset.info()
    dataset.delete()
    with pytest.raises(cfl.CartoError):
        info.export(tmp_path / "places.carto")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".csv", ".geojson", ".gpkg", ".zip", ".kml", ".svg", ".sqlite"])
def test_to_file_in_all_formats(ending, dataset, tmp_path):
    path = dataset.to_file(tmp_path / f"places{ending}")
    assert list(tmp_path.iterdir()) == [path]
    if ending == ".csv":
        back = pd.read_csv(path)
        assert back["name"].tolist() == ["A", "B"]
        assert "the_geom_webmercator" not in back
    elif ending == ".svg":
        assert b"<svg" in path.read_bytes()
    else:
        back = gpd.read_file(path)
        assert set(back.geometry.to_wkt()) == {"POINT (20 10.5)", "POINT (30 -10)"}


def test_to_file_keeps_all_digits(credentials, tmp_path):
    x = 1 / 3
    frame = gpd.GeoDataFrame({"n": [1]}, geometry=gpd.points_from_xy([x], [x]), crs=4326)
    path = frame.carto.to_table("t", credentials).to_file(tmp_path / "t.geojson")
    assert gpd.read_file(path).geometry[0].x == pytest.approx(x, abs=1e-14)


def test_a_failed_to_file_leaves_no_file(credentials, tmp_path):
    query = "SELECT 1 / (3000 - i) AS a, NULL::geometry AS the_geom FROM generate_series(1, 5000) i"
    with pytest.raises(cfl.SQLError, match="division by zero"):
        cfl.Client(credentials).sql.send_to_file(query, tmp_path / "t.geojson", format="geojson")
    assert list(tmp_path.iterdir()) == []


def test_to_file_with_an_unknown_extension(dataset, tmp_path):
    for ending in ("xyz", "shp"):
        with pytest.raises(ValueError, match=rf"places\.{ending}"):
            dataset.to_file(tmp_path / f"places.{ending}")
    assert dataset.to_file(tmp_path / "places.xyz", format="csv").exists()


def test_create_regenerate_and_delete_api_keys(dataset, credentials):
    keys = cfl.Client(credentials).api_keys
    key = keys.create("reader", tables={"public.places": "r"}, list_tables=True)
    assert (key.kind, key.tables[0].permissions, key.create_in, key.lists_tables) == ("regular", ("select",), (), True)
    assert key.token not in repr(key)
    reader = cfl.Credentials("tester", key.token, base_url=credentials.base_url)
    assert len(cfl.read_carto("places", reader)) == 2
    with pytest.raises(cfl.PermissionDenied):
        cfl.to_carto(FRAME, "places", reader, if_exists="append")
    assert [found.name for found in keys.list()] == ["Master", "Default public", "reader"]
    assert cfl.Client(reader).api_keys.list() == [keys.get("reader")]
    new = keys.regenerate("reader")
    assert new.token != key.token
    with pytest.raises(cfl.AuthenticationError):
        cfl.read_carto("places", reader)
    keys.delete("reader")
    with pytest.raises(cfl.NotFound):
        keys.get("reader")
    with pytest.raises(ValueError, match="'x'"):
        keys.create("bad", tables={"places": "x"})
    with pytest.raises(cfl.PermissionDenied, match="creating API keys requires the master key"):
        cfl.Client(cfl.Credentials("tester", base_url=credentials.base_url)).api_keys.create("more")


def test_an_api_key_with_grants_can_write(dataset, credentials):
    key = cfl.Client(credentials).api_keys.create("writer", tables={"places": "rw"}, create_tables=True)
    writer = cfl.Credentials("tester", key.token, base_url=credentials.base_url)
    cfl.to_carto(FRAME, "places", writer, if_exists="append")
    cfl.to_carto(FRAME, "places", writer, if_exists="replace")
    cfl.to_carto(FRAME, "fresh", writer)
    assert cfl.list_tables(credentials) == ["fresh", "places"]
