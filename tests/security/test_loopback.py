"""The embedded server is reachable from this machine only, and not from web pages (DNS rebinding)."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from cartoframes_lite.local import LocalCarto
from tests.security.api_calls import APICalls

PATHS = ["/api/v2/sql?q=SELECT+1", "/api/v1/map", "/api/v1/viz", "/api/v3/me", "/", "/user/tester/api/v1/map/named"]
FOREIGN = [
    *("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "127.0.0.1.evil.example", "evil.example:80"),
    *("localhost@evil.example", "evil.example@localhost", "0.0.0.0", "localhost.", "127.1", "2130706433", "0x7f.1"),
    *("[::ffff:127.0.0.1]", "[::1].evil.example", "127.0.0.2", "localhost, evil.example", "LOCALHOST.example", "-"),
]


def asked(carto: LocalCarto, head: str) -> bytes:
    """Send the head of a request as it is; return all of the response."""
    address = urlsplit(carto.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")
        response = b""
        while block := connection.recv(65536):
            response += block
    return response


@pytest.mark.parametrize("host", FOREIGN)
def test_another_host_is_refused_by_every_api(carto, host):
    for path in PATHS:
        for method in ("GET", "POST", "OPTIONS", "HEAD"):
            response = asked(carto, f"{method} {path} HTTP/1.1\nHost: {host}\nConnection: close\nContent-Length: 0")
            status, headers = response.split(b"\r\n", 1)[0], response.partition(b"\r\n\r\n")[0].lower()
            assert status.split()[1] in (b"403", b"400"), (method, path, response[:200])
            assert b"access-control-allow" not in headers
            assert b"rows" not in response


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost:1", "127.0.0.1:99999"])
def test_this_host_is_not(carto, host):
    response = asked(carto, f"GET /api/v2/sql?q=SELECT+1+AS+a HTTP/1.1\nHost: {host}\nConnection: close")
    assert response.startswith(b"HTTP/1.1 200")


def test_of_several_hosts_none_may_be_foreign(carto):
    for hosts in (("localhost", "evil.example"), ("evil.example", "localhost")):
        lines = "\n".join(f"Host: {host}" for host in hosts)
        response = asked(carto, f"GET /api/v2/sql?q=SELECT+1 HTTP/1.1\n{lines}\nConnection: close")
        assert response.split()[1] in (b"400", b"403")


def test_a_host_in_other_headers_counts_for_nothing(carto, api_calls):
    for header in ("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Forwarded-Proto: https"):
        head = f"GET /api/v1/map?config=%7B%7D HTTP/1.1\nHost: localhost\n{header}\nConnection: close"
        assert b"evil.example" not in asked(carto, head)


def test_it_listens_on_loopback_only(carto):
    port = urlsplit(carto.base_url).port
    assert port is not None
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    ]
    assert listening == [f"0100007F:{port:04X}"]


def test_postgresql_listens_to_its_own_user_only(carto):
    with psycopg.connect(carto.dsn) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        row = connection.execute("SHOW unix_socket_directories").fetchone()
    assert row is not None
    assert Path(row[0]).stat().st_mode & 0o077 == 0


def test_queries_cannot_show_paths_of_the_database(api_calls: APICalls):
    for setting in ("unix_socket_directories", "data_directory", "config_file", "hba_file"):
        assert api_calls.sql(f"SHOW {setting}").status_code == 400
