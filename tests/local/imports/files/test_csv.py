from __future__ import annotations

import csv
import io
import subprocess
import sys
from datetime import UTC, date, datetime

import psycopg
import pytest

from cartoframes_lite.local.state import State
from tests.local.imports.files.conftest import Importer


def test_types_are_those_of_the_whole_column(importer: Importer) -> None:
    lines = "id,small,big,real,flag,day,moment,code,text,huge,nothing\n"
    lines += "a,1,3000000000,0.5,true,2020-01-02,2020-01-02 03:04:05,007,x,12345678901234567890,\n"
    lines += "b,,-1,2,FALSE,,2020-01-02T03:04:05+02:00,12,,1,\n"
    assert importer.run(importer.write("My File (2).csv", lines)) == ["my_file_2"]
    assert importer.own_columns("my_file_2") == {
        "id": "text",
        "small": "integer",
        "big": "bigint",
        "real": "double precision",
        "flag": "boolean",
        "day": "date",
        "moment": "timestamp with time zone",
        "code": "text",
        "text": "text",
        "huge": "text",
        "nothing": "text",
    }
    names = ("small", "big", "real", "flag", "day", "moment AT TIME ZONE 'UTC'", "code", '"text"', "huge", "nothing")
    assert importer.rows("my_file_2", "cartodb_id", *names) == [
        (1, 1, 3000000000, 0.5, True, date(2020, 1, 2), datetime(2020, 1, 2, 3, 4, 5), "007", "x",
         "12345678901234567890", None),
        (2, None, -1, 2.0, False, None, datetime(2020, 1, 2, 1, 4, 5), "12", None, "1", None),
    ]  # fmt: skip


def test_a_single_column_with_a_trailing_comma(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "a,\r\n1\r\n2\r\n"))
    assert importer.rows("t", "cartodb_id", "a") == [(1, 1), (2, 2)]


def test_a_late_value_decides(importer: Importer) -> None:
    path = importer.write("late.csv", "a\n" + "1\n" * 30_000 + "x\n")
    importer.run(path)
    assert importer.own_columns("late") == {"a": "text"}


def test_without_type_guessing_all_is_text(importer: Importer) -> None:
    path = importer.write("t.csv", "a,b,lat,lon\n1,true,2.5,3.5\n")
    importer.run(path, type_guessing=False)
    assert set(importer.own_columns("t").values()) == {"text"}
    assert importer.rows("t", "a", "b", "lat") == [("1", "true", "2.5")]


def test_quoted_fields_stay_text_if_asked(importer: Importer) -> None:
    path = importer.write("t.csv", 'a,b,c\n"1",2,"x, ""y""\n3"\n4,5,\n')
    importer.run(path, quoted_fields_guessing=False)
    assert importer.own_columns("t") == {"a": "text", "b": "integer", "c": "text"}
    importer.run(path)
    assert importer.own_columns("t_1") == {"a": "integer", "b": "integer", "c": "text"}
    assert importer.rows("t_1", "c") == [('x, "y"\n3',), (None,)]


@pytest.mark.parametrize(
    ("name", "delimiter"), [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t"), ("t.txt", "|"), ("t.txt", "\t")]
)
def test_csv_delimiters_are_detected(importer: Importer, name: str, delimiter: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([["a", "b", "c"], ["1,5", "x; y", "2"], ["2", "z", "3"]])
    importer.run(importer.write(name, text.getvalue()))
    assert importer.rows("t", "a", "b", "c") == [("1,5", "x; y", 2), ("2", "z", 3)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1"])
def test_encodings(importer: Importer, encoding: str) -> None:
    text = "name,city\nJosé,Málaga\nMüller,Düsseldorf\nZoë,Besançon\n"
    importer.run(importer.write("t.csv", text.encode(encoding)))
    assert importer.rows("t", "name", "city") == [("José", "Málaga"), ("Müller", "Düsseldorf"), ("Zoë", "Besançon")]


def test_a_foreign_character_far_behind(importer: Importer) -> None:
    text = "name\n" + "plain\n" * 400_000 + "Málaga\nBesançon\n"
    importer.run(importer.write("t.csv", text.encode("cp1252")))
    assert importer.rows("t", "name")[-2:] == [("Málaga",), ("Besançon",)]


def test_names_of_columns(importer: Importer) -> None:
    header = "Ünïcode Näme,,a,A,2020,select,the_geom_webmercator,a b  c-d"
    importer.run(importer.write("t.csv", f"{header}\n1,2,3,4,5,6,7,8\n"))
    assert list(importer.own_columns("t")) == [
        "unicode_name", "field_2", "a", "a_1", "_2020", "_select", "a_b_c_d",
    ]  # fmt: skip


def test_a_file_of_numbers_has_no_header(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "1,2.5\n3,4.5\n"))
    assert importer.rows("t", "field_1", "field_2") == [(1, 2.5), (3, 4.5)]


def test_a_header_alone_is_an_empty_table(importer: Importer) -> None:
    assert importer.stage(importer.write("t.csv", "a,b\n"))[0].rows == 0


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_ends_of_lines(importer: Importer, ending: str) -> None:
    importer.run(importer.write("t.csv", ending.join(["a,b", "1,x", "2,y", ""])))
    assert importer.rows("t", "a", "b") == [(1, "x"), (2, "y")]


def test_cartodb_id_of_a_file_is_kept(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "cartodb_id,a\n7,x\n3,y\n"))
    assert importer.rows("t", "cartodb_id", "a") == [(3, "y"), (7, "x")]
    importer.connection.execute("INSERT INTO t (a) VALUES ('z')")
    assert importer.rows("t", "cartodb_id") == [(3,), (7,), (8,)]


def test_ids_beyond_four_bytes(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "cartodb_id,a\n30000000000,x\n"))
    assert importer.rows("t", "cartodb_id") == [(30_000_000_000,)]


def test_a_formula_is_only_text(importer: Importer) -> None:
    importer.run(importer.write("t.csv", 'a\n=1+1\n"=HYPERLINK(""http://x"")"\n'))
    assert importer.rows("t", "a") == [("=1+1",), ('=HYPERLINK("http://x")',)]


def test_an_imported_table_is_not_rewritten(importer: Importer) -> None:
    (staged,) = importer.stage(importer.write("t.csv", "lat,lon\n1,2\n"))
    oid = importer.connection.execute(f"SELECT '{staged.table}'::regclass::oid").fetchone()
    importer.connection.execute(f"SELECT cartodb.cdb_cartodbfytable('public', '{staged.table}')")
    assert importer.connection.execute(f"SELECT '{staged.table}'::regclass::oid").fetchone() == oid
    assert importer.columns(staged.table)["the_geom"] == "geometry(Geometry,4326)"
    (mercator,) = importer.rows(staged.table, "ST_AsText(the_geom_webmercator, 2)")
    assert mercator == ("POINT(222638.98 111325.14)",)
    indexed = importer.connection.execute(
        "SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass", (staged.table,)
    ).fetchone()
    assert indexed == (3,)


def test_many_rows(importer: Importer) -> None:
    path = importer.directory / "many.csv"
    with path.open("w") as file:
        file.write("id,name,lat,lon,value\n")
        for number in range(200_000):
            file.write(f"{number},name {number},{number % 90},{number % 180},{number / 7}\n")
    importer.run(path)
    counted = importer.connection.execute("SELECT count(*), sum(id), count(the_geom) FROM many").fetchone()
    assert counted == (200_000, 199_999 * 100_000, 200_000)
    last = importer.connection.execute("SELECT name, value FROM many WHERE id = 199999").fetchone()
    assert last == ("name 199999", 199_999 / 7)


def test_time_of_the_session_does_not_matter(importer: Importer) -> None:
    importer.connection.execute("SET timezone = 'America/New_York'")
    importer.run(importer.write("t.csv", "a\n2020-06-01 12:00\n"))
    (row,) = importer.rows("t", "a")
    assert row[0].astimezone(UTC) == datetime(2020, 6, 1, 12, tzinfo=UTC)


def test_nothing_remains_after_a_rollback(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "a\n1\n"))
    importer.connection.rollback()
    with pytest.raises(psycopg.errors.UndefinedTable):
        importer.rows("t", "a")


_MEASURE = """
import resource, sys
from pathlib import Path
import psycopg
from cartoframes_lite.local.imports.files import Options, stage_file
from cartoframes_lite.local.plan import Plan

for path in sys.argv[2:]:
    with psycopg.connect(sys.argv[1]) as connection:
        directory = Path(path).parent
        stage_file(connection, Path(path), file_name="t.csv", options=Options(), plan=Plan(), directory=directory)
        connection.rollback()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(importer: Importer, state: State) -> None:
    row = "some text," * 30 + "1,2\n"
    header = ",".join(f"c{number}" for number in range(30)) + ",lat,lon\n"
    paths = [importer.write(f"{count}.csv", header + row * count) for count in (100_000, 400_000)]
    command = [sys.executable, "-c", _MEASURE, state.conninfo(state.owner_role), *map(str, paths)]
    measured = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.split()
    small_kb, large_kb = map(int, measured)
    assert paths[1].stat().st_size > 120e6
    assert large_kb - small_kb < 60_000
