from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl
from tests.cli.conftest import Run

COMMANDS = ("upload", "download", "sql", "list", "info", "delete", "serve", "completion")
HELP = Path(cfl.__file__).with_name("cli") / "launcher.py"


@pytest.fixture
def stations(credentials: cfl.Credentials) -> gpd.GeoDataFrame:
    frame = gpd.GeoDataFrame(
        {"name": ["North", "Süd\x1b[31m", None], "trains": [120, 80, 2**60]},
        geometry=gpd.points_from_xy([2.35, 2.36, 2.29], [48.88, 48.84, 48.86]),
        crs=4326,
    )
    cfl.to_carto(frame, "stations", credentials, privacy="private")
    return frame


def test_upload_list_info_and_delete(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,lng,lat\nNorth,2.35,48.88\nSouth,2.36,48.84\nNowhere,,\n")
    upload = ("upload", "a.csv", "My stations", "--lnglat", "lng,lat")
    assert run(*upload, "--privacy", "link").stdout == "my_stations: 3 rows written\n"
    taken = run(*upload, code=5).stderr
    assert "already exists: pass --if-exists replace" in taken
    assert "if_exists" not in taken
    assert json.loads(run(*upload, "--if-exists", "append", "--json").stdout) == {"table": "my_stations", "rows": 3}
    (listed,) = json.loads(run("list", "--json").stdout)
    assert listed["name"] == "my_stations"
    assert listed["privacy"] == "link"
    assert listed["size_bytes"] > 0
    assert listed["geometry"] == "Point"
    assert json.loads(run("list", "--json", "--privacy", "public").stdout) == []
    header, _, line, count = run("list").stdout.splitlines()
    assert header.split() == ["name", "privacy", "rows", "size", "geometry", "updated_at"]
    assert line.split()[:2] == ["my_stations", "link"]
    assert " kB " in line or " MB " in line
    assert count == "(1 table)"
    info = json.loads(run("info", "my_stations", "--json").stdout)
    assert info["columns"]["name"] == "text"
    assert info["privacy"] == "link"
    assert "the_geom  " in run("info", "my_stations").stdout
    assert "pass --yes" in run("delete", "my_stations", code=2).stderr
    assert run("delete", "my_stations", "--yes").stdout == "my_stations: deleted\n"
    assert run("list").stdout.endswith("(0 tables)\n")


def test_a_command_as_a_process(run_process: Run) -> None:
    assert run_process("upload", "-", "t", stdin="n\n1\n2\n").stdout == "t: 2 rows written\n"
    assert json.loads(run_process("list", "--json").stdout)[0]["name"] == "t"
    failed = run_process("sql", "SELECT * FROM nothing", code=1)
    assert failed.stdout == ""
    assert failed.stderr.startswith('cartoframes-lite: relation "nothing" does not exist')
    assert "Traceback" not in failed.stderr


def test_a_reader_that_stops_early(environment: dict[str, str]) -> None:
    query = "SELECT generate_series(1, 200000) AS n"
    command = [sys.executable, "-m", "cartoframes_lite", "download", query, "-"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"n\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_sql_shows_rows_or_their_number(run: Run, stations: gpd.GeoDataFrame) -> None:
    query = "SELECT name, trains, the_geom FROM stations ORDER BY trains DESC"
    assert run("sql", query).stdout.splitlines() == [
        "name                      trains  the_geom",
        "-----------  -------------------  ------------------",
        "             1152921504606846976  POINT (2.29 48.86)",
        "North                        120  POINT (2.35 48.88)",
        "Süd\\x1b[31m                   80  POINT (2.36 48.84)",
        "(3 rows)",
    ]
    first = json.loads(run("sql", query, "--json", "--limit", "1").stdout)
    geometry = {"type": "Point", "coordinates": [2.29, 48.86]}
    assert first == [{"name": None, "trains": 2**60, "the_geom": geometry}]
    assert run("sql", "UPDATE stations SET trains = 1 WHERE trains < 100").stdout == "1 rows changed\n"
    assert json.loads(run("sql", "-", "--json", stdin="DELETE FROM stations").stdout) == {"rows": 3}
    values = "SELECT 1.5::numeric AS n, '2026-01-02'::date AS d, now() AS t, '{1,2}'::int[] AS a, '\\x00'::bytea AS b"
    (row,) = json.loads(run("sql", values, "--json").stdout)
    assert (row["n"], row["d"], row["a"], row["b"]) == (1.5, "2026-01-02", [1, 2], "AA==")


def test_standard_streams(run: Run, stations: gpd.GeoDataFrame) -> None:
    text = run("download", "SELECT trains FROM stations WHERE trains < 1000 ORDER BY 1", "-").stdout
    assert text == "trains\n80\n120\n"
    run("upload", "-", "copy", stdin=text)
    run("upload", "-", "copy", "--if-exists", "upsert", "--key", "trains", stdin=text)
    assert json.loads(run("sql", "TABLE copy", "--json").stdout)[1]["trains"] == 120


def test_errors_have_exit_codes(run: Run, tmp_path: Path, stations: gpd.GeoDataFrame) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/user/ann"
        assert "refused" in run("sql", "SELECT 1", code=6, CARTO_API_URL=nobody).stderr
    assert "no credentials found" in run("list", code=3, CARTO_API_URL="").stderr
    assert "required: SQL" in run("sql", code=2).stderr
    assert "require each other" in run("upload", "t.csv", "t", "--if-exists", "upsert", code=2).stderr
    assert "require each other" in run("upload", "t.csv", "t", "--key", "name", code=2).stderr
    assert "two columns" in run("upload", "t.csv", "t", "--lnglat", "lng", code=2).stderr
    assert "no statement" in run("sql", "", code=2).stderr
    assert "`cartoframes-lite list` shows all tables" in run("info", "nothing", code=4).stderr
    assert "directory: 'missing'" in run("download", "SELECT 1", "missing/t.csv", code=4).stderr
    run("upload", "nothing.csv", "t", code=4)
    run("sql", "SELECT * FROM stations", code=3, CARTO_API_KEY="default_public")
    failed = run("sql", "SELECT 1/0", "--json", code=1)
    assert json.loads(failed.stderr)["error"]["type"] == "SQLError"
    (tmp_path / "t.pkl").touch()
    assert "pickle" in run("upload", "t.pkl", "t", code=2).stderr
    assert "suffix of 't.unknown'" in run("download", "SELECT 1", "t.unknown", code=2).stderr
    assert not (tmp_path / "t.unknown").exists()


def test_every_exit_code_of_a_process(run_process: Run, tmp_path: Path, credentials: cfl.Credentials) -> None:
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    (tmp_path / "a.csv").write_text("n\n1\n")
    (tmp_path / "a.unknown").write_text("n\n1\n")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/user/ann"
        cases: list[tuple[int, str, tuple[str, ...], dict[str, str]]] = [
            (0, "", ("sql", "SELECT 1"), {}),
            (1, "does not exist", ("sql", "SELECT * FROM nothing"), {}),
            (2, "not recognized", ("upload", "a.unknown", "u"), {}),
            (2, "contains no username", ("list",), {"CARTO_API_URL": "https://example.org"}),
            (2, "invalid choice", ("bogus",), {}),
            (3, "no credentials found", ("list",), {"CARTO_API_URL": "", "CARTO_API_KEY": ""}),
            (4, "no table", ("info", "nothing"), {}),
            (5, "--if-exists", ("upload", "a.csv", "t"), {}),
            (6, "refused", ("list",), {"CARTO_API_URL": nobody}),
        ]
        for code, message, arguments, variables in cases:
            done = run_process(*arguments, code=code, **variables)
            assert message in done.stderr
            assert "Traceback" not in done.stderr
    page = (Path(cfl.__file__).parents[1] / "docs" / "command_line.md").read_text()
    assert {f"| {code} |" in page for code in (*range(7), 130)} == {True}


def test_an_interrupt_has_an_exit_code(environment: dict[str, str], credentials: cfl.Credentials) -> None:
    command = [sys.executable, "-m", "cartoframes_lite", "sql", "SELECT pg_sleep(60)::text AS waiting"]
    sql = cfl.Client(credentials).sql
    running = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while sql.row(running, "n")["n"] < 1:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, message = process.communicate()
    assert process.returncode == 130, message
    assert b"Traceback" not in message


def test_the_version(run: Run, run_process: Run) -> None:
    assert run("--version").stdout == f"cartoframes-lite {cfl.__version__}\n"
    assert run_process("--version").stdout == f"cartoframes-lite {cfl.__version__}\n"


def test_profiles(run_process: Run, credentials: cfl.Credentials, tmp_path: Path) -> None:
    credentials.save(tmp_path / "config/cartoframes_lite/creds.json", profile="work")
    none = {"CARTO_API_URL": "", "CARTO_API_KEY": ""}
    assert run_process("list", "--profile", "work", **none).stdout.endswith("(0 tables)\n")
    assert "only profiles, ['work']" in run_process("list", code=3, **none).stderr
    assert "no profile 'home'" in run_process("list", "--profile", "home", code=3).stderr


def test_help_does_not_import_pandas(tmp_path: Path) -> None:
    script = (
        "import sys, runpy; main = runpy.run_path(sys.argv.pop(1))['main']\n"
        "try: main()\n"
        "finally: print(sorted({'pandas', 'numpy', 'cartoframes_lite'} & set(sys.modules)), file=sys.stderr)"
    )
    helps = [[command, "--help"] for command in COMMANDS]
    for arguments, code in (*((arguments, 0) for arguments in (["--help"], *helps)), (["upload", "a"], 2)):
        command = [sys.executable, "-c", script, str(HELP), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(cfl.__file__).parents[1])
        assert done.returncode == code
        assert done.stderr.endswith("[]\n")


def test_help_of_the_module_does_not_import_pandas(environment: dict[str, str]) -> None:
    known = ((["--help"], 0), (["--version"], 0), (["sql"], 2), (["completion", "bash"], 0), (["serve", "--help"], 0))
    for arguments, code in known:
        command = [sys.executable, "-X", "importtime", "-m", "cartoframes_lite", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == code
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
        assert "argparse" in imported
        assert not {"pandas", "numpy", "geopandas"} & imported


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_option(run: Run, shell: str) -> None:
    script = run("completion", shell).stdout
    for word in ("upload", "serve", "profile", "if-exists", "append"):
        assert word in script


def test_bash_completes_commands_options_and_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.bash").write_text(run("completion", "bash").stdout)
    (tmp_path / "places.csv").touch()

    def completed(*words: str) -> list[str]:
        quoted = " ".join(f"'{word}'" for word in ("cartoframes-lite", *words))
        script = (
            f'. ./c.bash; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _cartoframes_lite; echo "${{COMPREPLY[@]}}"'
        )
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path).stdout.split()

    assert completed("up") == ["upload"]
    assert completed("upload", "--if") == ["--if-exists"]
    assert completed("upload", "--if-exists", "re") == ["replace"]
    assert completed("upload", "pl") == ["places.csv"]
    assert completed("completion", "fi") == ["fish"]


def test_delete_asks_on_a_terminal(environment: dict[str, str], credentials: cfl.Credentials) -> None:
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    for answer, is_left in (("n", True), ("y", False)):
        outer, inner = pty.openpty()
        command = [sys.executable, "-m", "cartoframes_lite", "delete", "t"]
        process = subprocess.Popen(
            command, env=environment, stdin=inner, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        os.write(outer, f"{answer}\n".encode())
        output, _ = process.communicate()
        os.close(outer)
        os.close(inner)
        assert b"Delete 't' of http" in output
        assert cfl.has_table("t", credentials) == is_left


def test_serve_runs_the_embedded_server(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "cartoframes_lite", "serve", "--user", "ann", "--api-key", "k"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        base_url = server.stdout.readline().strip()
        listed = subprocess.run(
            [sys.executable, "-m", "cartoframes_lite", "sql", "SELECT 1 AS n", "--json"],
            env={**environment, "CARTO_API_URL": base_url, "CARTO_API_KEY": "k"},
            capture_output=True,
            text=True,
        )
        server.send_signal(signal.SIGINT)
    assert json.loads(listed.stdout) == [{"n": 1}]
    assert server.returncode == 0


def test_warnings_have_advice_for_the_command_line(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("lng,lat,Größe\n1,2,3\n")
    command = [sys.executable, "-m", "cartoframes_lite", "upload", "t.csv", "t"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "warning: the frame has no geometry" in done.stderr
    assert "pass --lnglat lng,lat to make" in done.stderr
    assert "rename them in the file" in done.stderr


def test_numeric_keeps_all_digits(run: Run) -> None:
    query = "SELECT 12345678901234567890::numeric AS n, 1.10::numeric AS price, '{0.5,NaN}'::numeric[] AS list"
    assert run("sql", query).stdout.splitlines()[2].split()[:2] == ["12345678901234567890", "1.10"]
    (row,) = json.loads(run("sql", query, "--json").stdout)
    assert (row["n"], row["price"]) == (12345678901234567890, 1.1)
    assert run("download", query, "-").stdout.splitlines()[1].startswith("12345678901234567890,1.10,")


def test_json_has_no_infinity_or_nan(run: Run) -> None:
    query = "SELECT 'inf'::float8 AS f, '-inf'::numeric AS n, '{NaN,1}'::float8[] AS list"

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not valid JSON")

    (row,) = json.loads(run("sql", query, "--json").stdout, parse_constant=refuse)
    assert row == {"f": "Infinity", "n": "-Infinity", "list": ["NaN", 1.0]}


def test_with_clause_that_changes_data(run: Run, stations: gpd.GeoDataFrame) -> None:
    query = "WITH gone AS (DELETE FROM stations WHERE trains < 100 RETURNING trains) SELECT trains FROM gone"
    assert json.loads(run("sql", query, "--json").stdout) == [{"trains": 80}]
    assert json.loads(run("sql", "SELECT count(*) AS n FROM stations", "--json").stdout) == [{"n": 2}]


def test_advice_names_options(run: Run, stations: gpd.GeoDataFrame) -> None:
    append = ("upload", "-", "stations", "--if-exists", "append")
    assert "or pass --if-exists replace" in run(*append, stdin="other\n1\n", code=1).stderr
    assert "the_geom takes WKT" in run(*append, stdin="the_geom\nPOINT\n", code=1).stderr
