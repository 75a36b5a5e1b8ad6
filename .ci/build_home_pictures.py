"""Take the pictures of the home page that docs/local.md shows: docs/_static/home_light.png and home_dark.png.

python .ci/build_home_pictures.py
"""

from __future__ import annotations

import io
from pathlib import Path

import geopandas as gpd
import pandas as pd
from PIL import Image
from playwright.sync_api import Browser

import cartoframes_lite as cfl
from tests.maps import browser

ROOT = Path(__file__).parents[1]
QUERY = """SELECT name, season, max(wind_knots) AS wind_knots, ST_MakeLine(the_geom ORDER BY time) AS track
FROM storms GROUP BY name, season HAVING max(wind_knots) >= 155 ORDER BY season"""


def main() -> None:
    """Start a server with the data of the quickstart and the notebooks, and save a picture per color scheme."""
    with cfl.local.start(user="ann") as server, browser.launched() as chromium:
        fill(server.credentials)
        for scheme in ("light", "dark"):
            take_picture(chromium, server.credentials, scheme)


def fill(credentials: cfl.Credentials) -> None:
    """Create tables, a map, a published page and a job."""
    data = ROOT / "cartoframes_lite/data"
    for name, privacy in (("countries", "public"), ("places", "link")):
        cfl.to_carto(gpd.read_file(data / f"{name}.geojson"), name, credentials, privacy=privacy)
    for path in (ROOT / "notebooks/data/airports.csv", data / "storms.csv.gz"):
        cfl.to_carto(pd.read_csv(path), path.name.partition(".")[0], credentials, lnglat=("longitude", "latitude"))
    client = cfl.Client(credentials)
    client.visualizations.create_map(["countries", "places"], name="Cities of the world")
    client.publications.create("<html>Hurricanes</html>", name="Hurricanes 2004 to 2022", password="secret")
    client.batch.create("SELECT pg_sleep(600)")


def take_picture(chromium: Browser, credentials: cfl.Credentials, scheme: str) -> None:
    """Save the home page with the result of a query."""
    with browser.page(chromium, 1200, 900) as page:
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.goto(str(credentials.base_url))
        page.get_by_role("button", name="Enter API key").click()
        page.get_by_role("textbox", name="API key").fill(str(credentials.api_key))
        page.keyboard.press("Enter")
        page.get_by_text("pg_sleep").wait_for()
        page.get_by_role("textbox", name="SQL").fill(QUERY)
        page.get_by_role("button", name="Run").click()
        page.locator(".leaflet-labels-pane canvas").wait_for()
        page.wait_for_load_state("networkidle")
        page.mouse.click(1195, 400)  # takes the focus from the button
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    picture.quantize(128).save(ROOT / f"docs/_static/home_{scheme}.png", optimize=True)


if __name__ == "__main__":
    main()
