"""Files, URLs, queries, tables and other databases are imported as datasets."""

from __future__ import annotations

import gzip
import inspect
import io
import re
import zipfile

import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.local

CSV = b"name,people,latitude,longitude\nA,1,10.5,20\nB,2,-10,30\n"
FRAME = gpd.GeoDataFrame({"name": ["A", "B"]}, geometry=gpd.points_from_xy([20, 30], [10.5, -10]), crs=4326)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "My Stations.CSV").write_bytes(CSV)
    return tmp_path


def places(dataset):
    frame = dataset.read()
    return dict(zip(frame["name"], frame.geometry.to_wkt(), strict=True))


def test_a_file_becomes_a_dataset(folder, credentials):
    dataset = cfl.Dataset.from_file(folder / "My Stations.CSV", credentials)
    assert dataset == cfl.Dataset("my_stations", credentials)
    frame = dataset.read()
    assert frame["people"].tolist() == [1, 2]
    assert frame.crs == 4326
    assert places(dataset) == {"A": "POINT (20 10.5)", "B": "POINT (30 -10)"}
    assert dataset.privacy == "private"
    assert list(folder.iterdir()) == [folder / "My Stations.CSV"]


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".kml", ".zip"])
def test_import_gdal_formats(ending, tmp_path, credentials):
    path = tmp_path / f"places{ending}"
    if ending == ".zip":
        FRAME.to_crs(3857).to_file(tmp_path / "places.shp")
        with zipfile.ZipFile(path, "w") as archive:
            for part in tmp_path.glob("places.*"):
                if part != path:
                    archive.write(part, part.name)
    else:
        FRAME.to_file(path, driver="KML" if ending == ".kml" else None)
    dataset = cfl.Dataset.from_file(path, credentials)
    found = dataset.read().set_index("name").geometry
    assert found["A"].distance(FRAME.geometry[0]) < 1e-8
    assert found["B"].distance(FRAME.geometry[1]) < 1e-8


def test_import_keywords_take_effect(folder, credentials):
    path = folder / "My Stations.CSV"
    dataset = cfl.Dataset.from_file(
        path, credentials, name="Towns", privacy="link", type_guessing=False, create_map=True
    )
    assert dataset.name == "towns"
    assert dataset.privacy == "link"
    assert dataset.columns()["people"] == "text"
    (shown,) = cfl.list_visualizations(credentials)
    assert shown.privacy == "link"


@pytest.mark.parametrize(
    ("name", "table", "numbered"),
    [
        ("Café", "caf_", "caf_1"),
        ("_x", "table_x", "table_x_1"),
        ("select", "select_t", "select_t_1"),
        ("2019 x", "table_2019_x", "table_2019_x_1"),
    ],
)
def test_names_are_those_of_carto(name, table, numbered, folder, credentials):
    (folder / f"{name}.csv").write_bytes(CSV)
    for strategy, expected in (("overwrite", table), ("skip", table), (None, numbered)):
        dataset = cfl.Dataset.from_file(folder / f"{name}.csv", credentials, collision_strategy=strategy)
        assert dataset.name == expected
    dataset.delete()
    for strategy in ("skip", "overwrite"):
        same = cfl.Dataset.from_file(folder / "My Stations.CSV", credentials, name=name, collision_strategy=strategy)
        copied = cfl.Dataset.from_query("SELECT 1 AS a", credentials, name=f"{name} 2", collision_strategy=strategy)
        assert same.name == table
    assert cfl.list_tables(credentials) == sorted([table, copied.name])
    for imported, expected in ((same, 2), (copied, 1)):
        assert len(imported.read()) == expected


def test_collision_strategies(folder, credentials):
    path = folder / "My Stations.CSV"
    first = cfl.Dataset.from_file(path, credentials)
    assert cfl.Dataset.from_file(path, credentials).name == "my_stations_1"
    path.write_bytes(CSV + b"C,3,0,0\n")
    assert cfl.Dataset.from_file(path, credentials, collision_strategy="skip") == first
    assert len(first.read()) == 2
    assert cfl.Dataset.from_file(path, credentials, collision_strategy="overwrite") == first
    assert len(first.read()) == 3
    assert cfl.list_tables(credentials) == ["my_stations", "my_stations_1"]


def archive_of(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, CSV + b"C,3,0,0\n")
    return path


def test_the_table_of_an_archive_is_renamed(tmp_path, credentials):
    payroll = cfl.Dataset.from_file(io.BytesIO(CSV), credentials, name="payroll.csv")
    path = archive_of(tmp_path / "upload.zip", "payroll.csv")
    dataset = cfl.Dataset.from_file(path, credentials, name="brand.new", create_map=True)
    assert (dataset.name, len(dataset.read())) == ("brand_new", 3)
    assert dataset.info().dependent_count == 1
    with pytest.raises(cfl.TableExistsError, match="'brand_new'"):
        cfl.Dataset.from_file(path, credentials, name="Brand new")
    for keywords in ({"wait": False}, {"collision_strategy": "skip"}, {"collision_strategy": "overwrite"}):
        with pytest.raises(ValueError, match="renamed after the import"):
            cfl.Dataset.from_file(path, credentials, name="other", **keywords)
    assert cfl.list_tables(credentials) == ["brand_new", "payroll"]
    assert len(payroll.read()) == 2


def test_several_tables_of_an_archive_keep_their_names(tmp_path, credentials):
    path = archive_of(tmp_path / "upload.zip", "a.csv", "b.csv")
    with pytest.warns(
        cfl.IncompleteImportWarning, match=r"upload\.zip contains 2 tables.* name='towns' was not used"
    ) as caught:
        dataset = cfl.Dataset.from_file(path, credentials, name="towns")
    assert caught[0].filename == __file__
    assert dataset.name in cfl.list_tables(credentials) == ["a", "b"]


def test_a_failed_file_of_an_archive_warns(tmp_path, credentials):
    path = tmp_path / "upload.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.geojson", "nothing")
    with pytest.warns(
        cfl.IncompleteImportWarning, match=r"upload\.zip: a file in it was not imported: .*\(code 3007\)"
    ):
        assert cfl.Dataset.from_file(path, credentials).name == "a"


def test_skipped_tables_of_an_archive_are_not_guessed(tmp_path, credentials):
    path = archive_of(tmp_path / "a.zip", "b.csv")
    cfl.Dataset.from_file(path, credentials)
    cfl.Dataset.from_file(io.BytesIO(CSV), credentials, name="a.csv")
    with pytest.raises(cfl.ImportFailed, match=r"All tables were skipped .* open the table with Dataset\(name\)"):
        cfl.Dataset.from_file(path, credentials, collision_strategy="skip")
    assert cfl.list_tables(credentials) == ["a", "b"]


def test_skipped_imports_return_the_existing_table(file_server, credentials):
    file_server.files["/Some%20File.csv?token=AbC"] = CSV
    for make in (
        lambda **k: cfl.Dataset.from_url(f"{file_server.url}/Some%20File.csv?token=AbC", credentials, **k),
        lambda **k: cfl.Dataset.from_query("SELECT 1 AS a", credentials, name="1st", **k),
        lambda **k: cfl.Dataset.from_file(io.BytesIO(CSV), credentials, name="v1.2.csv", **k),
    ):
        assert make(collision_strategy="skip") == make(collision_strategy="skip")
    assert cfl.list_tables(credentials) == ["some_file", "table_1st", "v1_2"]


def test_invalid_sources_raise_before_any_request(credentials):
    for make in (
        lambda: cfl.Dataset.from_query(" ; ", credentials),
        lambda: cfl.Dataset.from_url("", credentials),
        lambda: cfl.Dataset.from_url("file:///etc/passwd", credentials),
        lambda: cfl.Dataset.from_url("http://", credentials),
        lambda: cfl.Dataset.from_file(io.BytesIO(CSV), credentials, name=" "),
        lambda: cfl.Dataset.from_url(None, credentials, sync_interval_s=900),
        lambda: cfl.Dataset.from_connector({}, credentials),
        lambda: cfl.Dataset.from_connector({"provider": "postgres", "connection": "x"}, credentials),
    ):
        with pytest.raises(ValueError, match=r"query|url|connector|name must not be blank"):
            make()
    assert cfl.list_imports(credentials) == []


def test_import_a_file_object(credentials):
    dataset = cfl.Dataset.from_file(io.BytesIO(gzip.compress(CSV)), credentials, name="towns.csv.gz")
    assert places(dataset)["A"] == "POINT (20 10.5)"


def test_import_without_waiting(folder, credentials):
    job = cfl.Dataset.from_file(folder / "My Stations.CSV", credentials, wait=False)
    assert isinstance(job, cfl.ImportJob)
    done = job.wait()
    assert (done.state, done.tables_created, done.error) == ("complete", 1, None)
    assert job.dataset == done.dataset == cfl.Dataset("my_stations", credentials)
    assert job.refresh() == done == job
    assert "state='complete'" in repr(job)
    assert "<td style='text-align:left'>complete</td>" in job._repr_html_()
    assert cfl.list_imports(credentials) == []  # finished ones are not listed
    assert str(credentials.api_key) not in repr(job) + job._repr_html_()
    assert "my_stations" in done._repr_html_()


def test_the_client_returns_the_same_jobs(folder, credentials):
    class Stations(cfl.Dataset):
        pass

    job = Stations.from_file(folder / "My Stations.CSV", credentials, wait=False).wait()
    assert type(job.dataset) is type(job.refresh().dataset) is Stations
    found = cfl.Client(credentials).imports.read(job.id)
    assert (type(found), found) == (cfl.ImportJob, job)
    assert found.dataset == found.wait().dataset == cfl.Dataset("my_stations", credentials)


@pytest.mark.parametrize("name", ["from_file", "from_url", "from_query", "from_table", "from_connector"])
def test_import_keywords_are_shown_and_checked(name):
    make = getattr(cfl.Dataset, name)
    parameters = inspect.signature(make).parameters
    for keyword in cfl.ImportKeywords.__annotations__:
        assert parameters[keyword].kind is inspect.Parameter.KEYWORD_ONLY
        assert re.search(rf"^{keyword} : ", make.__doc__, re.MULTILINE)
    assert (parameters["timeout_s"].default, parameters["type_guessing"].default) == (600.0, True)
    nowhere = cfl.Credentials("ann", "key", base_url="http://127.0.0.1:9/user/ann")
    message = rf"^Dataset\.{name}\(\) got an unexpected keyword argument 'privcy'\. Did you mean 'privacy'\?$"
    with pytest.raises(TypeError, match=message):
        make("x", nowhere, privcy="public")


def test_a_failed_import_leaves_no_table(tmp_path, credentials):
    path = tmp_path / "broken.zip"
    path.write_bytes(b"PK\x03\x04 this is no zip")
    with pytest.raises(cfl.ImportFailed, match=r"broken\.zip: Decompression error \(code 1003\)") as caught:
        cfl.Dataset.from_file(path, credentials)
    assert (caught.value.code, caught.value.source) == (1003, "user")
    job = cfl.Dataset.from_file(path, credentials, wait=False)
    with pytest.raises(cfl.ImportFailed):
        job.wait()
    assert "state='failure'" in repr(job)
    assert "failure" in job._repr_html_()
    assert job.refresh().error.code == 1003
    assert job.dataset is None
    assert cfl.list_tables(credentials) == []


def test_import_a_url(file_server, credentials):
    file_server.files["/Data/Towns.csv"] = CSV
    dataset = cfl.Dataset.from_url(f"{file_server.url}/Data/Towns.csv", credentials, privacy="public")
    assert (dataset.name, dataset.privacy, dataset.sync) == ("towns", "public", None)
    named = cfl.Dataset.from_url(f"{file_server.url}/Data/Towns.csv", credentials, name="Second")
    assert named.name == "second"
    assert cfl.list_tables(credentials) == ["second", "towns"]
    with pytest.raises(cfl.TableExistsError):
        cfl.Dataset.from_url(f"{file_server.url}/Data/Towns.csv", credentials, name="towns")
    with pytest.raises(cfl.ImportFailed) as caught:
        cfl.Dataset.from_url(f"{file_server.url}/data/towns.csv", credentials)
    assert caught.value.code == 1100
    with pytest.raises(ValueError, match="wait=True"):
        cfl.Dataset.from_url("http://x", credentials, name="t", wait=False)


def test_import_a_query_and_a_table(credentials):
    cfl.to_carto(FRAME, "places", credentials)
    south = cfl.Dataset.from_query("SELECT * FROM places WHERE ST_Y(the_geom) < 0;", credentials, name="South")
    assert places(south) == {"B": "POINT (30 -10)"}
    copied = cfl.Dataset.from_table("places", credentials)
    assert copied.name == "places_copy"
    assert places(copied) == {"A": "POINT (20 10.5)", "B": "POINT (30 -10)"}
    with pytest.raises(cfl.ImportFailed) as caught:
        cfl.Dataset.from_query("SELECT nope", credentials, name="t")
    assert caught.value.code == 8003
    with pytest.raises(cfl.TableNotFoundError):
        cfl.Dataset.from_table("nope", credentials)


def test_import_from_another_database(credentials):
    with cartoframes_lite.local.start(user="other") as other:
        cfl.to_carto(FRAME.assign(n=[1, 2]), "places", other.credentials)
        server = dict(part.split("=", 1) for part in other.dsn.split())
        connector = {
            "provider": "postgres",
            "connection": {
                "server": server["host"],
                "port": server["port"],
                "database": server["dbname"],
                "username": server["user"],
                "password": "not-needed",
            },
        }
        dataset = cfl.Dataset.from_connector({**connector, "schema": "public", "table": "places"}, credentials)
        assert places(dataset) == {"A": "POINT (20 10.5)", "B": "POINT (30 -10)"}
        synced = {"connector": {**connector, "table": "places"}, "interval": 900}
        assert cfl.Dataset.from_connector(synced, credentials).sync.interval_s == 900
        named = {**connector, "table": "places", "import_as": "Café"}
        for _ in range(2):
            assert cfl.Dataset.from_connector(named, credentials, collision_strategy="skip").name == "caf_"
        query = {**connector, "sql_query": "SELECT name, n FROM places WHERE n = 2", "import_as": "second"}
        assert cfl.Dataset.from_connector({"connector": query}, credentials).read()["name"].tolist() == ["B"]
        with pytest.raises(cfl.ImportFailed) as caught:
            cfl.Dataset.from_connector({**connector, "table": "nope"}, credentials)
        assert caught.value.code == 1500
        assert "not-needed" not in str(caught.value)
    with pytest.raises(cfl.APIError, match="abacus") as caught:
        cfl.Dataset.from_connector({"provider": "abacus", "connection": {"server": "x"}}, credentials)
    assert caught.value.status == 400


def test_imports_require_the_master_key(folder, credentials):
    key = cfl.Client(credentials).api_keys.create("other")
    other = cfl.Credentials("tester", key.token, base_url=credentials.base_url)
    for credentials_ in (other, cfl.Credentials("tester", base_url=credentials.base_url)):
        with pytest.raises(cfl.PermissionDenied, match="requires the master key"):
            cfl.Dataset.from_file(folder / "My Stations.CSV", credentials_)
    wrong = cfl.Credentials("tester", "wrong", base_url=credentials.base_url)
    with pytest.raises(cfl.AuthenticationError):
        cfl.Dataset.from_file(folder / "My Stations.CSV", wrong)


def test_imports_on_a_plan_without_private_datasets(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(CSV)
    plan = cartoframes_lite.local.Plan(private_datasets=False)
    with cartoframes_lite.local.start(plan=plan) as server:
        assert cfl.Dataset.from_file(path, server.credentials).privacy == "public"
        with pytest.raises(cfl.SQLError, match="private"):
            cfl.Dataset.from_file(path, server.credentials, privacy="private")
        assert cfl.list_tables(server.credentials) == ["x"]


def test_a_frame_of_an_import_has_its_dataset(folder, credentials):
    frame = cfl.Dataset.from_file(folder / "My Stations.CSV", credentials).read()
    frame.carto.privacy = "public"
    assert frame.carto.privacy == "public"
    assert frame.carto.sync is None
    pd.testing.assert_frame_equal(cfl.read_carto("my_stations", credentials), frame)
