"""The routes of the home page; ``test_home_page.py`` opens it in a browser."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest
import requests

import cartoframes_lite as cfl
from cartoframes_lite.local import LocalCarto
from tests.local.sql_client import SQLClient

ID = "00000000-0000-4000-8000-000000000000"


def get(url: str, **arguments: object) -> requests.Response:
    return requests.get(url, timeout=10, **arguments)  # type: ignore[arg-type]  # passed on


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/dashboard", "/dashboard/datasets"),
        *("/tables/a", "/tables/a/public", "/dataset/a", f"/viz/{ID}", f"/viz/{ID}/map", f"/builder/{ID}"),
    ],
)
def test_pages_and_what_they_load_exist(carto: LocalCarto, path: str) -> None:
    root, _, user = carto.base_url.partition("/user/")
    for prefix in (f"{root}/user/{user}", f"{root}/u/{user}", root):
        page = get(prefix + path)
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        loaded = re.findall(r'(?:href|src)="([^"#]*/assets/[^"]*)"', page.text)
        assert len(loaded) == 7
        for url in {urljoin(page.url, relative) for relative in loaded}:
            assert get(url).status_code == 200, url
        [account] = re.findall(r'data-account="([^"]*)"', page.text)
        assert urljoin(page.url, account) == carto.base_url


def test_headers_allow_no_inline_scripts_and_no_frames(carto: LocalCarto) -> None:
    for path in ("", "/tables/a", "/assets/main.js"):
        headers = get(carto.base_url + path).headers
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "DENY")
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["", "/tables/a", "/assets/main.js", "/home/jobs"])
def test_pages_of_other_hosts_are_refused(carto: LocalCarto, path: str) -> None:
    assert get(carto.base_url + path, headers={"Host": "evil.example"}).status_code == 403


def test_pages_of_other_users_do_not_exist(carto: LocalCarto) -> None:
    assert get(carto.base_url.replace("/user/tester", "/user/bob")).status_code == 404


@pytest.mark.parametrize("name", ["nope.js", "home.py", "..%2Froutes%2Fhome.py", "%2e%2e/app.py", "page.html"])
def test_no_other_files_are_served(carto: LocalCarto, name: str) -> None:
    assert get(f"{carto.base_url}/assets/{name}").status_code == 404


def test_key_is_not_in_the_page(carto: LocalCarto) -> None:
    key = str(carto.credentials.api_key)
    page = requests.get(carto.base_url, auth=("tester", key), timeout=10)
    assert page.status_code == 200
    assert key not in page.text + str(page.headers)


def test_jobs_are_listed_for_the_master_key_only(carto: LocalCarto, sql: SQLClient) -> None:
    client = cfl.Client(carto.credentials)
    jobs = [client.batch.create(f"SELECT {number}") for number in range(12)]
    for job in jobs:
        job.wait(progress=False)
    url = f"{carto.base_url}/home/jobs"
    listed = get(url, auth=("tester", str(carto.credentials.api_key))).json()["jobs"]
    assert [job["job_id"] for job in listed] == [job.id for job in jobs[:1:-1]]
    assert {job["status"] for job in listed} == {"done"}
    assert get(url).status_code == 403
    assert get(url, auth=("tester", "wrong")).status_code == 401
    sql.run("CREATE TABLE granted (a int)")
    assert get(url, auth=("tester", str(sql.regular("granted").key))).status_code == 403
