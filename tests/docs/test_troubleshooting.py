"""The messages that docs/troubleshooting.md explains are those that the package raises."""

from __future__ import annotations

import re

import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl
from tests.docs.documents import ROOT

STATIONS = gpd.GeoDataFrame({"name": ["North"], "trains": [120]}, geometry=gpd.points_from_xy([2.35], [48.88]))


@pytest.fixture(scope="module")
def messages():
    """Return the messages of common mistakes."""
    with cfl.local.start(user="ann", statement_timeout_s=1) as server:
        ann = server.credentials
        cfl.to_carto(STATIONS.set_crs(4326), "stations", ann, progress=False)
        private = cfl.Client(ann).api_keys.create("none", tables={}, create_tables=True)
        url = server.base_url
        with cfl.set_default_credentials(ann):
            return [_message(mistake) for mistake in _mistakes(url, private.token)]


def _mistakes(url, key_without_grants):
    several = iter([pd.DataFrame({"x": [1]}), pd.DataFrame({"x": ["b"]})])
    stations = STATIONS.set_crs(4326)
    return [
        lambda: cfl.read_carto("stations", cfl.Credentials("ann", "wrong", base_url=url)),
        lambda: cfl.read_carto("stations", cfl.Credentials("bob", "key", base_url=url.replace("ann", "bob"))),
        lambda: cfl.read_carto("stations", cfl.Credentials("ann", "key", base_url="http://127.0.0.1:9/user/ann")),
        lambda: cfl.Credentials("ann", "key", base_url="http://example.com/user/ann"),
        lambda: cfl.Credentials("ann", "key", base_url="https://gcp-us-east1.api.carto.com"),
        lambda: cfl.read_carto("stations", cfl.Credentials("ann", base_url=url)),
        lambda: cfl.read_carto("stations", cfl.Credentials("ann", key_without_grants, base_url=url)),
        lambda: cfl.read_carto("station"),
        lambda: cfl.read_carto("SELECT title FROM stations"),
        lambda: cfl.read_carto("SELECT * FROM stations a JOIN stations b USING (name)"),
        lambda: cfl.execute("SELECT pg_sleep(3)"),
        lambda: cfl.to_carto(stations, "stations"),
        lambda: cfl.to_carto(STATIONS, "others"),
        lambda: cfl.to_carto(stations.assign(trains="many"), "stations", if_exists="append"),
        lambda: cfl.to_carto(pd.DataFrame({"a b": [1], "a_b": [2]}), "others"),
        lambda: cfl.to_carto(pd.DataFrame({"x": [1, "b"]}), "others"),
        lambda: cfl.to_carto(several, "others"),
        lambda: cfl.read_carto("stations").query("trains > 200").carto.privacy,
    ]


def _message(mistake):
    with pytest.raises((cfl.CartoError, ValueError)) as raised:
        mistake()
    return str(raised.value)


def _headings():
    text = (ROOT / "docs/troubleshooting.md").read_text()
    return re.findall(r"^### (.*)$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("heading", _headings())
def test_explained_message_is_raised(heading, messages, monkeypatch, tmp_path):
    for name in ("CARTO_API_URL", "CARTO_USERNAME", "CARTO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    raised = [*messages, _message(lambda: cfl.read_carto("stations"))]
    pattern = ".*".join(re.escape(part) for part in heading.split("…"))
    assert any(re.search(pattern, message, flags=re.DOTALL) for message in raised)
