"""The pytest plugin in test runs of other projects."""

from __future__ import annotations

from pathlib import Path

import pytest

from cartoframes_lite.local import pytest_plugin

pytest_plugins = ["pytester"]


@pytest.fixture
def run_apart(pytester, monkeypatch):
    """Run tests in a separate process, with the plugin as the wheel installs it."""
    (pytester.path / "carto_local_pytest.py").write_text(Path(pytest_plugin.__file__).read_text())
    monkeypatch.setenv("PYTHONPATH", str(Path(pytest_plugin.__file__).parents[2]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the installed one would be there a second time

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "carto_local_pytest", "-W", "error", *arguments)

    return run


def test_each_test_finds_an_empty_account(pytester, run_apart):
    pytester.makepyfile(
        """
        import pandas as pd
        import pytest

        import cartoframes_lite as cfl

        servers = set()

        @pytest.mark.parametrize("run", [1, 2])
        def test_it_is_empty(run, carto_credentials, carto_local):
            assert cfl.list_tables() == []  # of the default credentials
            name = cfl.to_carto(pd.DataFrame({"a": [run]}), "results")
            assert list(cfl.read_carto(name, carto_local.credentials)["a"]) == [run]
            servers.add(carto_local.base_url)
            assert len(servers) == 1
            assert carto_credentials == carto_local.credentials

        def test_afterwards_it_is_not_the_default():
            with pytest.raises(cfl.CredentialsError):
                cfl.list_tables()
        """
    )
    run_apart().assert_outcomes(passed=3)


def test_the_server_fixture_can_be_overridden(pytester, run_apart):
    pytester.makeconftest(
        """
        import pytest

        import cartoframes_lite.local

        @pytest.fixture(scope="session")
        def carto_local_server():
            with cartoframes_lite.local.start(user="ann") as server:
                yield server
        """
    )
    pytester.makepyfile("def test_user(carto_credentials): assert carto_credentials.username == 'ann'")
    run_apart().assert_outcomes(passed=1)


def test_unused_fixtures_import_nothing(pytester, run_apart):
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            assert "carto_local_pytest" in sys.modules
            packages = {"cartoframes_lite", "pandas", "geopandas", "pyarrow", "psycopg", "starlette", "requests"}
            assert packages.isdisjoint(sys.modules)
        """
    )
    run_apart().assert_outcomes(passed=1)


def test_missing_server_packages_are_named(pytester, run_apart):
    pytester.makeconftest("import sys; sys.modules['psycopg'] = None")
    pytester.makepyfile("def test_nothing(): pass", test_it="def test_it(carto_local): pass")
    result = run_apart()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(['*pip install "cartoframes_lite*local*'])


def test_errors_of_the_server_are_captured(pytester, run_apart):
    pytester.makepyfile(
        """
        import psycopg
        import requests

        def test_it(carto_local):
            with psycopg.connect(carto_local.dsn, autocommit=True) as connection:
                connection.execute("ALTER SCHEMA cartodb_local RENAME TO renamed")
            key = carto_local.credentials.api_key
            requests.get(carto_local.base_url + "/api/v1/viz", auth=("local", key)).raise_for_status()
        """
    )
    result = run_apart()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Captured stderr call*", "GET /api/v1/viz failed", "Traceback*"])


def test_the_fixtures_are_listed_with_what_they_are(run_apart):
    result = run_apart("--fixtures")
    result.stdout.fnmatch_lines(["carto_local_server * -- *", "carto_local -- *", "carto_credentials -- *"])
