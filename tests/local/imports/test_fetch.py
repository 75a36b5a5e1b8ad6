from __future__ import annotations

import base64
import gzip
import http.server
import shutil
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from cartoframes_lite.local.imports.allowed_addresses import is_allowed, resolve
from cartoframes_lite.local.imports.fetch import FetchedFile, NotModified, fetch, redact_password
from cartoframes_lite.local.imports.files import ImportJobError
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan
from tests.http_servers import FileServer

PLAN = Plan(download_timeout_s=20)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n"


@pytest.fixture
def source(file_server: FileServer) -> FileServer:
    return file_server


def fetched(url: str, directory: Path, plan: Plan = PLAN) -> FetchedFile:
    response = fetch(url, directory, plan)
    assert isinstance(response, FetchedFile)
    return response


def refused(url: str, directory: Path, plan: Plan = PLAN) -> ImportJobError:
    with pytest.raises(ImportJobError) as caught:
        fetch(url, directory, plan)
    return caught.value


def test_file_is_what_the_server_sends(source: FileServer, tmp_path: Path) -> None:
    body = bytes(range(256)) * 1000
    url = source.put("/a%20b.csv", body, ETag='"1"', Last_Modified="Sat, 01 Jan 2022 00:00:00 GMT")
    file = fetched(url + "?q=ä b", tmp_path)
    assert file.path.read_bytes() == body
    assert file.path.parent == tmp_path
    assert (file.name, file.etag, file.modified) == ("a b.csv", '"1"', "Sat, 01 Jan 2022 00:00:00 GMT")
    assert file.checksum == sha256(body).hexdigest()
    assert source.requests[0][0] == "/a%20b.csv?q=%C3%A4%20b"
    assert not {"authorization", "cookie"} & source.requests[0][1].keys()
    assert source.requests[0][1]["host"] == f"127.0.0.1:{source.server_port}"


def test_unchanged_file_is_not_sent_again(source: FileServer, tmp_path: Path) -> None:
    modified = "Sat, 01 Jan 2022 00:00:00 GMT"
    url = source.put("/t.csv", b"a\n1\n", ETag='"1"', Last_Modified=modified)
    assert fetch(url, tmp_path, PLAN, etag='"1"') == NotModified()
    assert fetch(url, tmp_path, PLAN, modified=modified) == NotModified()
    assert isinstance(fetch(url, tmp_path, PLAN, etag='"2"'), FetchedFile)


def test_an_unrequested_304_is_an_error(source: FileServer, tmp_path: Path) -> None:
    assert refused(source.put("/t.csv", b"", status=304), tmp_path).code == 1001


@pytest.mark.parametrize(
    ("path", "headers", "name"),
    [
        ("/x.csv", {"Content_Disposition": 'attachment; filename="my file.zip"'}, "my file.zip"),
        ("/x.csv", {"Content_Disposition": "attachment; filename=../../etc/passwd.csv"}, "passwd.csv"),
        ("/x.csv", {"Content_Disposition": "attachment; filename*=UTF-8''caf%C3%A9.csv"}, "café.csv"),
        ("/x.csv", {"Content_Disposition": "inline"}, "x.csv"),
        ("/sql", {"Content_Type": "text/csv; charset=utf-8"}, "sql.csv"),
        ("/", {"Content_Type": "application/geo+json"}, "download.geojson"),
        ("/x", {"Content_Type": "application/octet-stream"}, "x"),
    ],
)
def test_file_names_come_from_headers_or_urls(
    source: FileServer, tmp_path: Path, path: str, headers: dict[str, str], name: str
) -> None:
    assert fetched(source.put(path, b"a\n1\n", **headers), tmp_path).name == name


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, 1100), (401, 1101), (403, 1001), (407, 1001), (410, 1001), (400, 1001), (500, 1001), (204, 1001)],
)
def test_status_becomes_a_code(source: FileServer, tmp_path: Path, status: int, code: int) -> None:
    error = refused(source.put("/t.csv", b"", status=status), tmp_path)
    assert error.code == code
    assert str(status) in error.detail


def test_redirects_are_followed_five_times(source: FileServer, tmp_path: Path) -> None:
    source.put("/5", b"a\n1\n", Content_Type="text/csv")
    for hop, status in enumerate((301, 302, 303, 307, 308)):
        source.redirect(f"/{hop}", f"{hop + 1}", status)
    assert fetched(f"{source.url}/0", tmp_path).name == "5.csv"
    source.redirect("/more", "/0")
    assert refused(f"{source.url}/more", tmp_path).code == 1001


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::ffff:10.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "2852039166",
        "0x0a000001",
    ],
)
def test_private_addresses_are_refused_also_after_a_redirect(source: FileServer, tmp_path: Path, host: str) -> None:
    for url in (f"http://{host}/t.csv", source.redirect("/t.csv", f"http://{host}:{source.server_port}/t.csv")):
        assert refused(url, tmp_path).code == 1101
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "8.8.8.8", "2001:4860::8888"])
def test_loopback_and_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(address)


def test_plan_may_allow_private_addresses() -> None:
    assert resolve("10.0.0.1", 80, replace(PLAN, private_addresses=True)) == ["10.0.0.1"]


def test_mapped_loopback_is_loopback(source: FileServer, tmp_path: Path) -> None:
    source.put("/t.csv", b"a\n1\n")
    assert fetched(f"http://[::ffff:127.0.0.1]:{source.server_port}/t.csv", tmp_path).path.read_bytes() == b"a\n1\n"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/t.csv",
        "file:///etc/passwd",
        "/etc/passwd",
        "t.csv",
        "http://",
        "http://[::1",
        "http://127.0.0.1:port/",
        "http://nobody.invalid/t.csv",
        "http://" + "a" * 70 + ".invalid/",
    ],
)
def test_invalid_hosts_are_unresolvable(tmp_path: Path, url: str) -> None:
    assert refused(url, tmp_path).code == 1102


def test_unreachable_server(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        assert refused(f"http://127.0.0.1:{taken.getsockname()[1]}/", tmp_path).code == 1001


@pytest.mark.parametrize(
    "response",
    [
        HEAD + b"Content-Length: 10\r\n\r\na\n1\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\na\n1\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\na\n",
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"a\n1\n")[:-4],
        HEAD + b"Content-Encoding: gzip\r\n\r\na\n1\n",
    ],
    ids=["length", "no last chunk", "broken chunk", "gzip", "not gzip"],
)
def test_truncated_body(source: FileServer, tmp_path: Path, response: bytes) -> None:
    assert refused(source.raw("/t.csv", response), tmp_path).code == 1103


@pytest.mark.parametrize("response", [b"", b"SSH-2.0-OpenSSH_9.9\r\n", HEAD + b"Content-Encoding: br\r\n\r\nx"])
def test_invalid_http_responses_are_errors(source: FileServer, tmp_path: Path, response: bytes) -> None:
    assert refused(source.raw("/t.csv", response), tmp_path).code == 1001


def test_chunks_and_bodies_without_length(source: FileServer, tmp_path: Path) -> None:
    chunked = source.raw("/c.csv", HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\na\n1\n\r\n0\r\n\r\n")
    assert fetched(chunked, tmp_path).path.read_bytes() == b"a\n1\n"
    assert fetched(source.raw("/u.csv", HEAD + b"\r\na\n1\n"), tmp_path).path.read_bytes() == b"a\n1\n"


def test_gzip_is_undone(source: FileServer, tmp_path: Path) -> None:
    body = b"a\n" + b"1\n" * 200_000
    packed = gzip.compress(body[:100]) + gzip.compress(body[100:])
    url = source.put("/t.csv.gz", packed, Content_Encoding="gzip")
    file = fetched(url, tmp_path)
    assert file.path.read_bytes() == body
    assert file.name == "t.csv"  # packed for the way only
    assert fetched(source.put("/u.csv.gz", packed), tmp_path).name == "u.csv.gz"
    assert fetched(source.put("/v.csv", b"", Content_Encoding="gzip"), tmp_path).path.read_bytes() == b""


@pytest.mark.parametrize("kind", ["told", "untold", "gzip"])
def test_size_limit_counts_what_is_unpacked(source: FileServer, tmp_path: Path, kind: str) -> None:
    plan = replace(PLAN, file_bytes=1000)
    small, big = b"x" * 1000, b"x" * 1001

    def url(body: bytes) -> str:
        if kind == "told":
            return source.put("/t.csv", body)
        if kind == "untold":
            return source.raw("/t.csv", HEAD + b"\r\n" + body)
        return source.put("/t.csv", gzip.compress(body), Content_Encoding="gzip")

    assert fetched(url(small), tmp_path, plan).path.read_bytes() == small
    assert refused(url(big), tmp_path, plan).code == 6666


@pytest.mark.parametrize(
    "begin", [b"", HEAD, HEAD + b"Content-Length: 10\r\n\r\na\n", HEAD + b"\r\na\n"], ids=["all", "head", "body", "end"]
)
def test_server_that_hangs(source: FileServer, tmp_path: Path, begin: bytes) -> None:
    started = time.monotonic()
    url = source.hang("/t.csv", begin)
    assert refused(url, tmp_path, replace(PLAN, download_timeout_s=0.3)).code == 1020
    assert time.monotonic() - started < 300  # not the ten minutes of the server


def test_slow_server_has_to_be_done_in_time(source: FileServer, tmp_path: Path) -> None:
    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(HEAD + b"\r\n")
        while not source.released.wait(0.05):
            try:
                request.wfile.write(b"1\n")
            except OSError:
                break
        request.close_connection = True

    source.responses["/t.csv"] = drip
    assert refused(f"{source.url}/t.csv", tmp_path, replace(PLAN, download_timeout_s=0.4)).code == 1020


def test_another_thread_can_end_a_download(source: FileServer, tmp_path: Path) -> None:
    cancellation = Cancellation()
    threading.Timer(0.2, cancellation.cancel, [6671]).start()
    with pytest.raises(ImportJobError) as caught:
        fetch(source.hang("/t.csv", HEAD + b"\r\na\n"), tmp_path, PLAN, cancellation=cancellation)
    assert caught.value.code == 6671


def test_url_passwords_are_not_sent_to_other_servers(source: FileServer, tmp_path: Path) -> None:
    other = source.put("/other.csv", b"a\n1\n")
    source.redirect("/t.csv", other)
    fetch(f"http://us%40er:s%3Acret@127.0.0.1:{source.server_port}/t.csv", tmp_path, PLAN)
    first, second = (headers.get("authorization", "") for _, headers in source.requests)
    assert base64.b64decode(first.removeprefix("Basic ")) == b"us@er:s:cret"
    assert second == ""


def test_passwords_do_not_show(source: FileServer, tmp_path: Path) -> None:
    source.put("/t.csv", b"", status=403)
    for host in (f"127.0.0.1:{source.server_port}", "127.0.0.1:1", "nobody.invalid", "10.0.0.1", "127.0.0.1:port"):
        error = refused(f"http://user:secret@{host}/t.csv", tmp_path)
        assert "secret" not in str(error)
    assert redact_password("https://user:secret@host/x@y:z@w") == "https://user:***@host/x@y:z@w"
    assert redact_password("https://host/x?a=b:c@d") == "https://host/x?a=b:c@d"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a self-signed certificate for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    options += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path) + ".public"]
    subprocess.run([openssl, "req", "-x509", *options], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.public").read_text())
    return path


def test_https_needs_a_trusted_certificate(certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FileServer(tls=context) as source:
        url = source.put("/t.csv", b"a\n1\n")
        assert refused(url, tmp_path).code == 1001
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetched(url, tmp_path).path.read_bytes() == b"a\n1\n"
        assert refused(url.replace("127.0.0.1", "localhost"), tmp_path).code == 1001
        hanging = source.hang("/h.csv", HEAD + b"\r\na\n")
        assert refused(hanging, tmp_path, replace(PLAN, download_timeout_s=0.4)).code == 1020


def test_proxies_of_the_environment_are_left_alone(
    source: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetched(source.put("/t.csv", b"a\n1\n"), tmp_path).name == "t.csv"
