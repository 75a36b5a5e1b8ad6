"""What the guides of cartoframes show, run by an interpreter that has cartoframes 1.2.5; each step prints its name.

    python cartoframes_session.py BASE_URL API_KEY

BASE_URL is that of the account. cartoframes prints messages of its own to the standard output.
"""

from __future__ import annotations

import sys
import warnings

warnings.simplefilter("ignore")  # of the old pandas and geopandas that it needs

import cartoframes  # noqa: E402  # after the filter
import geopandas as gpd  # noqa: E402
import requests  # noqa: E402
from cartoframes.auth import Credentials, set_default_credentials  # noqa: E402
from cartoframes.exceptions import PublishError  # noqa: E402
from cartoframes.viz import Layer, Layout, Map, all_publications, color_bins_style, delete_publication  # noqa: E402
from shapely.geometry import Point  # noqa: E402

FRAME = gpd.GeoDataFrame(
    {"name": ["a", None], "value": [1.5, 2.5]}, geometry=[Point(1, 2), Point(3, 4)], crs="EPSG:4326"
)


def write_and_read() -> None:
    cartoframes.to_carto(FRAME, "places")
    cartoframes.to_carto(FRAME, "places", if_exists="append")
    cartoframes.to_carto(FRAME, "places", if_exists="replace")
    back = cartoframes.read_carto("places")
    assert (back["name"].tolist(), back["value"].tolist()) == (["a", None], [1.5, 2.5])
    assert [point.wkt for point in back.geometry] == ["POINT (1 2)", "POINT (3 4)"]
    assert len(cartoframes.read_carto("SELECT * FROM places WHERE value > 2")) == 1
    assert cartoframes.describe_table("places") == {"privacy": "PRIVATE", "num_rows": 2, "geom_type": "point"}


def tables() -> None:
    cartoframes.copy_table("places", "copied")
    cartoframes.create_table_from_query("SELECT * FROM places LIMIT 1", "queried")
    assert len(cartoframes.read_carto("queried")) == 1
    cartoframes.rename_table("queried", "renamed")
    assert sorted(cartoframes.list_tables()["tables"]) == ["copied", "places", "renamed"]
    cartoframes.delete_table("renamed")
    assert not cartoframes.has_table("renamed")
    cartoframes.update_privacy_table("copied", "public")
    assert cartoframes.describe_table("copied")["privacy"] == "PUBLIC"


def publications() -> None:
    shown = Map(Layer("places", color_bins_style("value")))
    published = shown.publish("places", None)
    assert (published["name"], published["privacy"]) == ("places", "public")
    page = requests.get(published["url"], timeout=60).text
    assert "<html" in page
    # The page reads the private table with a key of its own, not with the master key.
    assert "cartoframes" in page
    assert sys.argv[2] not in page
    changed = shown.update_publication("places 2", "secret")
    assert (changed["id"], changed["name"], changed["privacy"]) == (published["id"], "places 2", "password")
    assert "Insert your password" in requests.get(published["url"], timeout=60).text
    opened = requests.post(f"{published['url']}/protected", data={"password": "secret"}, timeout=60).text
    assert "Insert your password" not in opened
    try:
        Map(Layer(FRAME)).publish("places 2", None, if_exists="fail")
    except PublishError as refused:
        message = str(refused)
    assert "already exists" in message
    Layout([Map(Layer("places")), Map(Layer("copied"))]).publish("layout", None)
    assert sorted(one["name"] for one in all_publications()) == ["layout", "places 2"]
    for name in ("layout", "places 2"):
        delete_publication(name)
    assert all_publications() == []


def main() -> None:
    """Run all steps in order."""
    credentials = Credentials(base_url=sys.argv[1], username="tester", api_key=sys.argv[2], allow_non_secure=True)
    set_default_credentials(credentials)
    for step in (write_and_read, tables, publications):
        step()
        print("done:", step.__name__, flush=True)


if __name__ == "__main__":
    main()
