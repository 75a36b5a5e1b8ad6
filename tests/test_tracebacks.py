"""IPython shows the errors of the package with short tracebacks; the exceptions keep theirs."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import traceback

import geopandas as gpd
import pytest

import cartoframes_lite as cfl

POINTS = gpd.GeoDataFrame({"n": [1]}, geometry=gpd.points_from_xy([0], [0]), crs=4326)

_COLORS = re.compile(r"\x1b\[[0-9;]*m")

# Runs cells in IPython, and prints what each of them printed as one JSON list.
SESSION = """
import contextlib, io, json, sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
printed = []
for cell in json.loads(sys.argv[1]):
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        shell.run_cell(cell)
    printed.append(output.getvalue())
print(json.dumps(printed))
"""


@pytest.fixture
def run_cells(credentials):
    """Return a function that runs cells in IPython, and returns what they printed."""
    POINTS.carto.to_table("points", credentials)
    variables = {"CARTO_API_URL": str(credentials.base_url), "CARTO_API_KEY": credentials.api_key}

    def run(*cells):
        cells = ("import cartoframes_lite as cfl", *cells)
        command = [sys.executable, "-c", SESSION, json.dumps(cells)]
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, check=True, timeout=90
        )
        return [_COLORS.sub("", printed) for printed in json.loads(done.stdout)[1:]]

    return run


MISTAKES = {
    "cfl.Dataset('points').map(color_by='m')": "points has no such column",
    "cfl.read_carto('points').carto.map(basemap='drak')": "did you mean 'dark'?",
    "cfl.Dataset('points').map(bbox=(1, 2))": "bbox must be",
    "cfl.Map('pionts')": "TableNotFoundError: there is no table 'pionts': did you mean 'points'?",
    "cfl.Map('SELECT m FROM points')": 'column "m" does not exist',
    "cfl.Map('points').static_image(0, 5)": "width must be",
    "cfl.Dataset('points').map('#layer { marker-widht: 3; }')._repr_html_()": "Did you mean marker-width?",
    "cfl.read_carto('points', limit='x')": "limit",
}


def test_tracebacks_of_mistakes_are_short_in_ipython(run_cells):
    for (cell, message), printed in zip(MISTAKES.items(), run_cells(*MISTAKES), strict=True):
        assert message in printed.splitlines()[-1], printed
        assert len(printed.splitlines()) <= 8, printed
        assert "cartoframes_lite/" not in printed.partition(cell)[0]


def test_verbose_mode_shows_all_frames(run_cells):
    _, printed = run_cells("%xmode Verbose", "cfl.Map('points', basemap=5)")
    assert "check_basemap" in printed
    assert len(printed.splitlines()) > 20


def test_errors_keep_their_tracebacks_and_causes(credentials):
    with pytest.raises(ValueError, match="basemap") as caught:
        cfl.Map("points", credentials, basemap="drak")
    assert "check_basemap" in {frame.name for frame in traceback.extract_tb(caught.value.__traceback__)}
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
