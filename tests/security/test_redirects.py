"""The API key is sent only to the host, port and scheme of the base URL, also after redirects."""

from __future__ import annotations

import base64
import io

import pytest
import requests

import cartoframes_lite as cfl
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.imports import ImportOptions
from tests.http_servers import ANYWHERE

KEY = "s3cr3t"
BASIC = f"Basic {base64.b64encode(f'ann:{KEY}'.encode()).decode()}"
STATUSES = [300, 301, 302, 303, 307, 308]


def streamed(client: cfl.Client) -> None:
    with client.copy.copy_to("COPY t TO STDOUT") as blocks:
        list(blocks)


CALLS = {
    "POST": lambda client: client.sql.send("SELECT 1", idempotent=True),
    "GET": lambda client: client.sql.send("SELECT 1", method="GET", idempotent=True),
    "stream": streamed,
    "upload": lambda client: client.copy.copy_from("COPY t FROM STDIN", lambda: [b"1\n"]),
    "job": lambda client: client.batch.create("SELECT 1"),
    "account": lambda client: client.users.me(),
    "file": lambda client: client.imports.create_from_file(io.BytesIO(b"a\n1\n"), ImportOptions(), name="t.csv"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_redirects_to_other_hosts_are_not_followed(recording_server, call, host):
    first, second = recording_server(), recording_server(host)
    for session in (None, requests.Session()):
        client = cfl.Client(cfl.Credentials(api_key=KEY, base_url=first.base_url, session=session))
        for status in STATUSES:
            first.redirect(ANYWHERE, f"{second.url}/user/ann/api/v2/sql", status)
            with pytest.raises(cfl.APIError, match="redirects are not followed") as caught:
                CALLS[call](client)
            assert KEY not in str(caught.value)
    assert second.requests == []
    assert {headers["authorization"] for _, headers in first.requests} == {BASIC}


@pytest.mark.parametrize("target", ["plain", "tls"])
def test_redirects_to_another_scheme_are_not_followed(recording_server, tls, certificate, target):
    secure, plain = recording_server(tls=tls), recording_server()
    first, second = (secure, plain) if target == "plain" else (plain, secure)
    account = cfl.Credentials(api_key=KEY, base_url=first.base_url, verify=str(certificate))
    for status in STATUSES:
        first.redirect(ANYWHERE, f"{second.base_url}/api/v2/sql", status)
        with pytest.raises(cfl.APIError, match="redirected"):
            cfl.Client(account).sql.send("SELECT 1")
    assert len(first.requests) == len(STATUSES)
    assert second.requests == []


def test_files_named_by_responses_are_fetched_without_key(recording_server, tmp_path, monkeypatch):
    first, second = recording_server(), recording_server("localhost")
    first.put(ANYWHERE, b"{}", Set_Cookie="session=1")
    second.put("/file", b"content")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password from-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    transport = Transport(cfl.Credentials(api_key=KEY, base_url=first.base_url))
    transport.json("GET", "api/v2/sql", idempotent=True)
    first.redirect("/file", f"{second.url}/file")
    with transport.fetch(f"{first.url}/file?signature=1") as blocks:
        assert b"".join(blocks) == b"content"
    for _, headers in [*first.requests[1:], *second.requests]:
        assert not {"authorization", "cookie"} & headers.keys()


def test_netrc_does_not_replace_the_key(recording_server, tmp_path, monkeypatch):
    server = recording_server()
    netrc = tmp_path / "netrc"
    netrc.write_text("default login eve password from-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    session = requests.Session()
    session.auth = ("eve", "of the session")
    assert session.trust_env
    for chosen in (None, session):
        for key, sent in ((KEY, BASIC), (None, None)):
            cfl.Client(cfl.Credentials(api_key=key, base_url=server.base_url, session=chosen)).sql.send("SELECT 1")
            assert server.requests[-1][1].get("authorization") == sent


@pytest.mark.parametrize(
    "base_url",
    [
        "https://127.0.0.1:{port}\\.carto.com",
        "http://127.0.0.1:{port}\\.localhost/user/ann",
        "http://localhost\\@127.0.0.1:{port}/user/ann",
        "https://ann:key@127.0.0.1:{port}/user/ann",
        "https://127.0.0.1:{port}%2f.carto.com",
        "https://127.0.0.1:{port};.carto.com",
        "https://ann .carto.com",
    ],
)
def test_ambiguous_hosts_in_base_url_are_refused(recording_server, base_url):
    server = recording_server()
    with pytest.raises(ValueError, match="base_url"):
        cfl.Credentials(api_key=KEY, base_url=base_url.format(port=server.server_port))
    assert server.requests == []
