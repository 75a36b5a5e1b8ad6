"""Runs calls of cartoframes for ``latency.py``: one for each line of the standard input; prints its time."""

from __future__ import annotations

import sys
import time

import cartoframes
import geopandas as gpd
from cartoframes.auth import Credentials
from cartoframes.viz import Layer, Map

FRAME = gpd.GeoDataFrame(
    {"name": [f"place {i}" for i in range(10)], "value": [i / 2 for i in range(10)]},
    geometry=gpd.points_from_xy(range(10), range(10)),
    crs="EPSG:4326",
)
CALLS = {
    "read_carto table": lambda account, table: cartoframes.read_carto(table, account),
    "read_carto query": lambda account, table: cartoframes.read_carto(f"SELECT * FROM {table}", account),
    "to_carto new": lambda account, table: cartoframes.to_carto(FRAME, table, account),
    "to_carto replace": lambda account, table: cartoframes.to_carto(FRAME, table, account, if_exists="replace"),
    "to_carto append": lambda account, table: cartoframes.to_carto(FRAME, table, account, if_exists="append"),
    "has_table": lambda account, table: cartoframes.has_table(table, account),
    "list_tables": lambda account, table: cartoframes.list_tables(account),
    "describe_table": lambda account, table: cartoframes.describe_table(table, account),
    "map in a notebook": lambda account, table: Map(Layer(table, credentials=account))._repr_html_(),
}

for line in sys.stdin:
    name, base_url, api_key, table = line.rstrip("\n").split("\t")
    account = Credentials(base_url=f"{base_url}/", username="bench", api_key=api_key, allow_non_secure=True)
    started = time.perf_counter()
    CALLS[name](account, table)
    print(f"seconds {time.perf_counter() - started}", flush=True)
