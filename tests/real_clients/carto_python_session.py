"""The examples of the README of carto-python, run by an interpreter with carto 1.11.3; each step prints its name.

    python carto_python_session.py BASE_URL API_KEY FOLDER SOURCE_URL

BASE_URL is that of the account, FOLDER has ``places.csv``, SOURCE_URL is a CSV for a sync table.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")  # pkg_resources and the SDK's own

from carto.api_keys import APIKeyManager  # noqa: E402  # after the filter
from carto.auth import APIKeyAuthClient  # noqa: E402
from carto.datasets import DatasetManager  # noqa: E402
from carto.exceptions import CartoException  # noqa: E402
from carto.file_import import FileImportJob, FileImportJobManager  # noqa: E402
from carto.kuvizs import KuvizManager  # noqa: E402
from carto.maps import AnonymousMap, NamedMapManager  # noqa: E402
from carto.permissions import LINK, PRIVATE, PUBLIC  # noqa: E402
from carto.sql import BatchSQLClient, CopySQLClient, SQLClient  # noqa: E402
from carto.sync_tables import SyncTableJobManager  # noqa: E402
from carto.users import UserManager  # noqa: E402
from carto.visualizations import VisualizationManager  # noqa: E402
from pyrestcli.auth import NoAuthClient  # noqa: E402  # the README has it from carto.auth, which lacks it
from pyrestcli.exceptions import BadRequestException  # noqa: E402

FROM_QUERY = "COPY copy_example (the_geom, name, age) FROM stdin WITH (FORMAT csv, HEADER true)"


def sql(auth: APIKeyAuthClient, folder: Path) -> None:
    client = SQLClient(auth)
    client.send("CREATE TABLE copy_example (the_geom geometry(Geometry,4326), name text, age integer)")
    client.send("SELECT CDB_CartodbfyTable(current_schema, 'copy_example')")
    assert client.send("SELECT 1 AS one")["rows"] == [{"one": 1}]
    assert client.send("SELECT 1 AS one", format="csv").split() == [b"one", b"1"]
    try:
        client.send("SELECT nope")
    except CartoException as refused:
        message = str(refused)
    assert "nope" in message


def copy(auth: APIKeyAuthClient, folder: Path) -> None:
    client = CopySQLClient(auth)

    def rows() -> Any:
        yield b"the_geom,name,age\n"
        for i in range(1, 80):
            yield f"SRID=4326;POINT({i} {i}),somebody,{100 - i}\n".encode()

    assert client.copyfrom(FROM_QUERY, rows())["total_rows"] == 79
    path = folder / "export.csv"
    client.copyto_file_path(
        "COPY copy_example (the_geom, name, age) TO stdout WITH (FORMAT csv, HEADER true)", str(path)
    )
    assert client.copyfrom_file_path(FROM_QUERY, str(path))["total_rows"] == 79
    with path.open("rb") as file:
        assert client.copyfrom_file_object(FROM_QUERY, file)["total_rows"] == 79


def batch(auth: APIKeyAuthClient, folder: Path) -> None:
    client = BatchSQLClient(auth)
    job = client.create_and_wait_for_completion(["UPDATE copy_example SET age = age + 1", "SELECT 1"])
    assert job["status"] == "done", job
    slow = client.create("SELECT pg_sleep(60)")
    assert client.read(slow["job_id"])["status"] in ("pending", "running")
    assert client.cancel(slow["job_id"]) == "cancelled"


def datasets(auth: APIKeyAuthClient, folder: Path) -> None:
    manager = DatasetManager(auth)
    dataset = manager.create(str(folder / "places.csv"))
    assert (dataset.name, dataset.type) == ("places", "table")
    assert {found.name for found in manager.all()} == {"copy_example", "places"}
    again = manager.get(dataset.id)
    for privacy in (PUBLIC, LINK, PRIVATE):
        again.privacy = privacy
        again.save()
        assert manager.get(dataset.id).privacy == privacy
    assert manager.get("places").table.row_count == 3
    manager.get(dataset.id).delete()
    assert {found.name for found in manager.all()} == {"copy_example"}


def imports(auth: APIKeyAuthClient, folder: Path) -> None:
    job = FileImportJob(str(folder / "places.csv"), auth)
    job.run(collision_strategy="overwrite")
    wait(job, "complete")
    assert (job.success, job.table_name, job.tables_created_count) == (True, "places", 1)
    broken = folder / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 not a zip")
    job = FileImportJob(str(broken), auth)
    job.run()
    wait(job, "failure")
    assert (job.success, job.error_code) == (False, 1003)
    assert FileImportJobManager(auth).send("api/v1/imports/", "get").json()["success"] is True


def syncs(auth: APIKeyAuthClient, folder: Path) -> None:
    manager = SyncTableJobManager(auth)
    job = manager.create(sys.argv[4], 900)
    wait(job, "success")
    assert (job.interval, job.error_code) == (900, None)
    dataset = DatasetManager(auth).create(sys.argv[4], 900)
    assert dataset.name.startswith("source")
    assert dataset.synchronization is not None
    job.force_sync()
    job.delete()


def users(auth: APIKeyAuthClient, folder: Path) -> None:
    user = UserManager(auth).get("tester")
    assert user.username == "tester"
    assert user.quota_in_bytes > user.db_size_in_bytes > 0


def api_keys(auth: APIKeyAuthClient, folder: Path) -> None:
    manager = APIKeyManager(auth)
    tables = [{"schema": "public", "name": "places", "permissions": ["select", "insert"]}]
    key = manager.create("mine", ["sql"], tables)
    assert {found.name for found in manager.all()} >= {"mine", "Master", "Default public"}
    reader = SQLClient(APIKeyAuthClient(sys.argv[1], key.token))
    assert reader.send("SELECT count(*) AS n FROM places")["rows"] == [{"n": 3}]
    token = key.token
    key.regenerate_token()
    assert manager.get("mine").token != token
    key.delete()
    assert "mine" not in {found.name for found in manager.all()}


def visualizations(auth: APIKeyAuthClient, folder: Path) -> None:
    created = auth.send("api/v1/viz/", "post", json={"tables": ["places"], "name": "a map"}).json()
    manager = VisualizationManager(auth)
    assert [found.name for found in manager.all()] == ["a map"]
    url = manager.get(created["id"]).export()
    assert url.endswith(".carto")
    assert auth.session.get(url).content[:2] == b"PK"


def maps(auth: APIKeyAuthClient, folder: Path) -> None:
    style = {"cartocss": "#l { marker-fill: red }", "cartocss_version": "2.3.0"}
    group = {"version": "1.7.0", "layers": [{"type": "mapnik", "options": {"sql": "SELECT * FROM places", **style}}]}
    anonymous_map = AnonymousMap(auth)
    anonymous_map.instantiate(group)
    tile = auth.session.get(anonymous_map.get_tile_url(0, 0, 0), params={"api_key": sys.argv[2]})
    assert (tile.status_code, tile.content[:4]) == (200, b"\x89PNG")
    template = {"version": "0.0.1", "name": "named", "auth": {"method": "token", "valid_tokens": ["t"]}}
    manager = NamedMapManager(auth)
    named = manager.create(template={**template, "placeholders": {}, "layergroup": group, "view": {}})
    assert [found.template_id for found in manager.all()] == ["named"]
    named.instantiate({}, "t")
    tile = auth.session.get(f"{sys.argv[1]}api/v1/map/{named.layergroupid}/0/0/0.png?auth_token=t")
    assert (tile.status_code, tile.content[:4]) == (200, b"\x89PNG")
    named.view = {"zoom": 4, "center": {"lng": 0, "lat": 0}}
    named.save()
    assert manager.get("named").view["zoom"] == 4
    named.delete()
    assert not list(manager.all())


def kuvizs(auth: APIKeyAuthClient, folder: Path) -> None:
    manager = KuvizManager(auth)
    page = manager.create("<html>one</html>", "page")
    assert auth.session.get(page.url).text == "<html>one</html>"
    try:
        manager.create("<html>two</html>", "page")
    except BadRequestException as refused:
        message = str(refused)
    assert message == "Validation failed: Name has already been taken"
    again = manager.create("<html>two</html>", "page", "secret", "replace")
    assert (again.id, again.privacy) == (page.id, "password")
    again.data, again.name, again.password, again.if_exists = "<html>three</html>", "renamed", None, "fail"
    again.save()
    assert auth.session.get(page.url).text == "<html>three</html>"
    [listed] = manager.all()
    assert (listed.name, listed.privacy) == ("renamed", "public")
    listed.delete()
    assert not list(manager.all())


def anonymous(auth: APIKeyAuthClient, folder: Path) -> None:
    nobody = SQLClient(NoAuthClient(base_url=sys.argv[1]))
    SQLClient(auth).send("GRANT SELECT ON places TO publicuser")
    assert nobody.send("SELECT count(*) AS n FROM places", do_post=False)["rows"] == [{"n": 3}]


def wait(job: Any, state: str) -> None:
    """Refresh a job until it is in a state."""
    deadline = time.monotonic() + 60
    job.refresh()
    while job.state != state:
        assert job.state not in ("failure", "success", "complete"), (job.state, job.error_code)
        assert time.monotonic() < deadline, job.state
        time.sleep(0.2)
        job.refresh()


def main() -> None:
    """Run all steps in order."""
    auth, folder = APIKeyAuthClient(sys.argv[1], sys.argv[2]), Path(sys.argv[3])
    for step in (sql, copy, batch, datasets, imports, syncs, users, api_keys, visualizations, maps, kuvizs, anonymous):
        step(auth, folder)
        print(step.__name__, flush=True)


if __name__ == "__main__":
    main()
