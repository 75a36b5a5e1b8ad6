"""Progress bars of reads, writes and imports."""

from __future__ import annotations

import re

import pandas as pd
import pyarrow as pa
import pytest

import cartoframes_lite as cfl
from cartoframes_lite._client.http import progress

ROWS = 50_000
FRAME = pd.DataFrame({"n": range(ROWS)})


@pytest.fixture(autouse=True)
def every_state_is_drawn(monkeypatch):
    new_bar = progress._new_bar

    def drawn_always(*arguments, **options):
        return new_bar(*arguments, mininterval=0, miniters=1, **options)

    monkeypatch.setattr(progress, "_new_bar", drawn_always)


def percentages(shown: str, title: str) -> list[int]:
    return [int(found) for found in re.findall(rf"{title}: +(\d+)%", shown)]


@pytest.mark.parametrize(
    "rows", [FRAME, pa.Table.from_pandas(FRAME), [FRAME[:20_000], FRAME[20_000:]]], ids=["frame", "arrow", "list"]
)
def test_writes_show_percentage_and_publishing(rows, credentials, capsys):
    cfl.to_carto(rows, "t", credentials, cartodbfy=False, progress=True)
    shown = capsys.readouterr().err
    assert len(set(percentages(shown, "writing"))) > 1
    assert max(percentages(shown, "writing")) == 100
    assert shown.index("writing") < shown.index("publishing [00:0")
    assert shown.split("\r")[-2].strip() == shown.split("\r")[-1] == ""


def test_writes_of_iterators_show_rows(credentials, capsys):
    cfl.to_carto(iter([FRAME]), "t", credentials, cartodbfy=False, progress=True)
    shown = capsys.readouterr().err
    assert percentages(shown, "writing") == []
    assert "50.0k rows" in shown


def test_direct_appends_show_percentages(credentials, capsys):
    client = cfl.Client(credentials)
    table = cfl.to_carto(FRAME.head(1), "t", credentials)
    key = client.api_keys.create("writer", tables={table: "rw"})
    writer = cfl.Credentials(credentials.username, key.token, base_url=credentials.base_url)
    cfl.to_carto(FRAME, table, writer, if_exists="append", progress=True)
    cfl.to_carto(iter([FRAME]), table, writer, if_exists="append", progress=True)
    first, second = re.findall(r"writing: +100%[^\r]*", capsys.readouterr().err)
    assert "50.0k/50.0k" in first
    assert "B/s]" in second  # counted in bytes, which wait in a temporary file


def test_reads_of_tables_show_percentages(credentials, capsys):
    cfl.to_carto(FRAME, "t", credentials, cartodbfy=False)
    cfl.execute("ANALYZE t", credentials=credentials)
    assert len(cfl.read_carto("t", credentials, progress=True)) == ROWS
    shown = capsys.readouterr().err
    assert len(set(percentages(shown, "reading"))) > 1
    assert max(percentages(shown, "reading")) == 100
    assert "50.0k/50.0k rows" not in shown
    assert "50.0k/50.0k" in shown
    assert shown.split("\r")[-2].strip() == ""
    assert len(cfl.read_carto("t", credentials, limit=10, progress=True)) == 10
    assert "10.0/10.0" in capsys.readouterr().err


def test_reads_of_queries_show_rows(credentials, capsys):
    assert len(cfl.read_carto("SELECT generate_series(1, 3000) AS n", credentials, progress=True)) == 3000
    shown = capsys.readouterr().err
    assert percentages(shown, "reading") == []
    assert "3.00k rows" in shown


def test_reads_without_visible_bars_send_no_estimate(credentials, capsys):
    cfl.to_carto(FRAME.head(3), "t", credentials)
    sent = []
    session = cfl.Client(credentials).sql
    original = type(session).row

    def row(self, query, *names):
        sent.append(query)
        return original(self, query, *names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(session), "row", row)
        cfl.read_carto("t", credentials)
        cfl.read_carto("t", credentials, progress=False)
        assert not [query for query in sent if "EXPLAIN" in query]
        cfl.read_carto("t", credentials, progress=True)
    assert [query for query in sent if "EXPLAIN" in query]


def test_imports_show_upload_and_state(credentials, tmp_path, capsys):
    path = tmp_path / "towns.csv"
    path.write_text("name,n\n" + "a,1\n" * 1000)
    cfl.Dataset.from_file(path, credentials, progress=True)
    shown = capsys.readouterr().err
    assert max(percentages(shown, "towns.csv")) == 100
    assert re.search(r"importing: \w+ \[00:0", shown)
    assert shown.split("\r")[-2].strip() == ""
