"""A failed import raises an error with its cause, and leaves no table."""

from __future__ import annotations

import zipfile

import psycopg
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.local
from cartoframes_lite._codec.html import plain_text
from cartoframes_lite.local import Plan

CSV = b"name,n\na,1\n"
ENCRYPTED = 0x1  # flag of a zip archive; the standard library does not write such archives


@pytest.fixture(scope="module")
def strict():
    """Start a server with limits that tests can reach."""
    plan = Plan(file_bytes=1 << 20, rows=100, columns=10, layers=2, download_timeout_s=1.0)
    with cartoframes_lite.local.start(user="tester", plan=plan) as server:
        yield server


@pytest.fixture
def account(strict):
    strict.reset()
    yield strict.credentials
    assert cfl.list_datasets(strict.credentials) == []
    with psycopg.connect(strict.dsn) as connection:
        left = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 'import\\_%'").fetchall()
    assert left == []


def packed(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def broken_archive(folder):
    path = packed(folder / "x.zip", {"x.csv": CSV * 100})
    path.write_bytes(path.read_bytes()[:100])
    return path


def zip_bomb(folder):
    path = packed(folder / "x.zip", {"x.csv": bytes(50 << 20)})
    assert path.stat().st_size < 100_000
    return path


def encrypted(folder):
    path = packed(folder / "x.zip", {"x.csv": CSV}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[6] |= ENCRYPTED  # flags of the local header
    content[content.index(b"PK\x01\x02") + 8] |= ENCRYPTED  # and of the directory
    path.write_bytes(content)
    return path


def file_of(name, content):
    def make(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (file_of("x.exe", b"MZ\x90\0" * 50), 1002),
        (file_of("x.csv", b""), 1005),
        (broken_archive, 1003),
        (zip_bomb, 6666),
        (encrypted, 1018),
        (file_of("x.csv", CSV * 100_000), 6666),
        (file_of("x.csv", CSV + b"b,2\n" * 100), 6668),
        (file_of("x.csv", b",".join(b"c%d" % i for i in range(11)) + b"\n" + b"1," * 10 + b"1\n"), 2004),
        (file_of("x.geojson", b'{"type": "Nothing"}'), 3007),
        (lambda folder: packed(folder / "x.zip", {"readme.md": "# nothing"}), 1002),
    ],
)
def test_broken_files_have_their_import_error(make, code, account, tmp_path):
    with pytest.raises(cfl.ImportFailed) as caught:
        cfl.Dataset.from_file(make(tmp_path), account)
    assert caught.value.code == code
    assert caught.value.title in str(caught.value)
    assert caught.value.source == "user"
    assert str(caught.value).splitlines()[1:] == [plain_text(caught.value.what_about)]


def test_files_that_cannot_be_read(account, tmp_path):
    with pytest.raises(FileNotFoundError):
        cfl.Dataset.from_file(tmp_path / "nope.csv", account)
    with pytest.raises(IsADirectoryError):
        cfl.Dataset.from_file(tmp_path, account)
    assert cfl.list_imports(account) == []


def test_unusable_urls_have_their_import_error(account, file_server):
    for url, code in (
        (f"{file_server.url}/nope.csv", 1100),
        ("http://127.0.0.1:1/x.csv", 1001),
        ("http://10.0.0.1/x.csv", 1101),
        ("http://[::ffff:192.168.0.1]/x.csv", 1101),
        ("http://169.254.169.254/latest/meta-data", 1101),
        ("ftp://example.com/x.csv", 1102),
    ):
        with pytest.raises(cfl.ImportFailed) as caught:
            cfl.Dataset.from_url(url, account)
        assert (url, caught.value.code) == (url, code)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "nowhere", "http://example.com/a b.csv"])
def test_texts_that_are_no_urls(url, account):
    with pytest.raises(cfl.APIError, match="Invalid URL, cannot connect dataset"):
        cfl.Client(account).imports.create_from_url(url, {})
    with pytest.raises(ValueError, match="url must be a URL"):
        cfl.Dataset.from_url(url, account)
    assert cfl.list_imports(account) == []


def test_a_url_that_redirects_to_a_private_address(account, file_server):
    with pytest.raises(cfl.ImportFailed) as caught:
        cfl.Dataset.from_url(file_server.redirect("/x.csv", "http://10.0.0.1/x.csv"), account)
    assert caught.value.code == 1101


def test_a_url_that_hangs(account, file_server):
    with pytest.raises(cfl.ImportFailed) as caught:
        cfl.Dataset.from_url(file_server.hang("/x.csv"), account)
    assert caught.value.code == 1020


def test_invalid_import_options_are_refused(account, tmp_path):
    path = file_of("x.csv", CSV)(tmp_path)
    with pytest.raises(ValueError, match="'secret'"):
        cfl.Dataset.from_file(path, account, privacy="secret")
    with pytest.raises(ValueError, match="'rename'"):
        cfl.Dataset.from_file(path, account, collision_strategy="rename")
    with pytest.raises(ValueError, match="900 s"):
        cfl.Dataset.from_url("http://127.0.0.1:1/x.csv", account, sync_interval_s=899)
    assert cfl.list_imports(account) == []
    assert cfl.list_syncs(account) == []


def test_imports_with_a_foreign_key_are_refused(account, credentials, tmp_path):
    path = file_of("x.csv", CSV)(tmp_path)
    stranger = cfl.Credentials("tester", credentials.api_key, base_url=account.base_url)
    with pytest.raises(cfl.AuthenticationError, match="does not know this API key"):
        cfl.Dataset.from_file(path, stranger)
    other = cfl.Credentials("somebody", account.api_key, base_url=account.base_url.replace("/tester", "/somebody"))
    with pytest.raises(cfl.NotFound, match="somebody"):
        cfl.Dataset.from_file(path, other)
