from __future__ import annotations

import copy
import gc
import json
import pickle
import stat
import threading
from pathlib import Path

import pytest

from cartoframes_lite import credentials as module
from cartoframes_lite.credentials import Credentials, resolve, set_default_credentials
from cartoframes_lite.errors import CredentialsError

KEY = "s3cret-key"


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CARTO_API_URL", "CARTO_USERNAME", "CARTO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "user_config_dir", lambda application: str(tmp_path / application))
    monkeypatch.setattr(module, "_in_process", None)


@pytest.mark.parametrize(
    ("given", "expected", "username"),
    [
        ("https://ann.carto.com", "https://ann.carto.com", "ann"),
        ("https://ann.carto.com/", "https://ann.carto.com", "ann"),
        ("https://ann.carto.com/dashboard/datasets", "https://ann.carto.com", "ann"),
        ("https://org.carto.com/user/ann", "https://org.carto.com/user/ann", "ann"),
        ("https://org.carto.com/u/ann/", "https://org.carto.com/user/ann", "ann"),
        ("https://org.carto.com/u/ann/dashboard", "https://org.carto.com/user/ann", "ann"),
        ("https://maps.town.gov:8443/user/ann", "https://maps.town.gov:8443/user/ann", "ann"),
        ("http://127.0.0.1:8080/user/ann", "http://127.0.0.1:8080/user/ann", "ann"),
        ("http://localhost:8080/user/ann/", "http://localhost:8080/user/ann", "ann"),
        ("http://[::1]:8080/user/ann", "http://[::1]:8080/user/ann", "ann"),
        ("https://town.carto.com/api/v2/sql", "https://town.carto.com", "town"),
        ("https://town.carto.com/api/v2/sql?q=SELECT+1&format=csv", "https://town.carto.com", "town"),
        ("https://org.carto.com/u/ann/api/v1/map?lzma=x", "https://org.carto.com/user/ann", "ann"),
        ("https://data.town.gov/api/v2/sql", "https://data.town.gov", "data"),
        ("https://example.org/api/v2/sql", "https://example.org", "example"),
        ("https://www.example.org:8443/api/v2/sql?q=SELECT+1", "https://www.example.org:8443", "example"),
        ("https://ann.carto.com/tables/stations/public", "https://ann.carto.com", "ann"),
        ("https://ann.carto.com/builder/5b2c/embed", "https://ann.carto.com", "ann"),
        ("ann.carto.com", "https://ann.carto.com", "ann"),
        ("https://gis.town.gov/carto/user/ann", "https://gis.town.gov/carto/user/ann", "ann"),
        ("https://gis.town.gov/a/b/u/ann/dashboard", "https://gis.town.gov/a/b/user/ann", "ann"),
        ("http://127.0.0.1:80/carto/user/ann/api/v2/sql", "http://127.0.0.1:80/carto/user/ann", "ann"),
    ],
)
def test_base_url_has_one_form(given: str, expected: str, username: str) -> None:
    found = Credentials(api_key=KEY, base_url=given)
    assert (found.base_url, found.username) == (expected, username)


def test_a_portal_with_one_account_has_any_username() -> None:
    found = Credentials("ann", KEY, base_url="https://example.org/api/v2/sql")
    assert (found.base_url, found.username) == ("https://example.org", "ann")
    for url in ("https://example.org", "https://example.org/dashboard", "https://localhost/api/v2/sql"):
        with pytest.raises(ValueError, match=r"contains no username: use https://\w+(\.org)?/user/ann"):
            Credentials("ann", KEY, base_url=url)


def test_username_alone() -> None:
    assert Credentials("ann").base_url == "https://ann.carto.com"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("https://ann.carto.com", "https://ann.carto.com"),
        ("https://org.carto.com/u/ann/", "https://org.carto.com/user/ann"),
        ("ann.carto.com", "https://ann.carto.com"),
    ],
)
def test_a_url_as_username(name: str, expected: str) -> None:
    found = Credentials(name, KEY)
    assert (found.base_url, found.username, found.api_key) == (expected, "ann", KEY)


def test_the_advice_about_a_url_names_the_user() -> None:
    with pytest.raises(ValueError, match=r"use https://maps\.de/carto/user/ann$"):
        Credentials("ann", base_url="https://maps.de/carto/")


@pytest.mark.parametrize(
    "url",
    [
        "https://gcp-us-east1.api.carto.com",
        "https://gcp-us-east1.api.carto.com/v3/sql/carto_dw/query",
        "https://clausa.app.carto.com",
        "app.carto.com",
    ],
)
def test_hosts_of_carto_3_are_refused(url: str) -> None:
    for arguments in ({"base_url": url}, {"username": url}):
        with pytest.raises(CredentialsError, match=r"carto\.com belongs to CARTO 3"):
            Credentials(api_key=KEY, **arguments)


@pytest.mark.parametrize(
    "url",
    [
        f"https://ann.carto.com/?api_key={KEY}",
        f"https://ann:{KEY}@ann.carto.com",
        f"https://ann.carto.com/#api_key={KEY}",
        f"https://ann.carto.com/api/v2/sql?q=SELECT+1&api_key={KEY}",
        f"https://ann.carto.com/api/v1/map/named/x?auth_token={KEY}",
    ],
)
def test_a_key_in_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        Credentials("ann", base_url=url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "ann",
        "ftp://ann.carto.com",
        "https://",
        "https://127.0.0.1:80",
        "https://h.de/carto",
        "https://h.de/../user/ann",
    ],
)
def test_an_invalid_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        Credentials(base_url=url)


def test_http_needs_loopback_or_leave() -> None:
    with pytest.raises(ValueError, match="allow_non_secure"):
        Credentials(base_url="http://maps.town.gov/user/ann")
    assert Credentials(base_url="http://maps.town.gov/user/ann", allow_non_secure=True).username == "ann"


def test_username_and_base_url_must_agree() -> None:
    with pytest.raises(CredentialsError, match="'bob'"):
        Credentials("bob", base_url="https://org.carto.com/user/ann")


def test_username_ignores_case() -> None:
    assert Credentials("Ann").username == "ann"
    assert Credentials("Ann", base_url="https://ann.carto.com").username == "ann"


def test_missing_credentials_are_an_error() -> None:
    with pytest.raises(CredentialsError):
        Credentials()


def test_repr_never_shows_the_key() -> None:
    found = Credentials("ann", KEY)
    assert KEY not in repr(found) + str(found) + f"{found}"
    assert "***" in repr(found)
    assert "default_public" in repr(Credentials("ann"))


def test_notebook_output_of_default_credentials_has_no_key() -> None:
    setting = set_default_credentials(Credentials("ann", KEY))
    set_default_credentials(None)
    assert "ann.carto.com" in repr(setting)
    assert KEY not in repr(setting)


def test_credentials_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Credentials("ann").username = "bob"  # type: ignore[misc]


@pytest.mark.parametrize("again", [lambda c: pickle.loads(pickle.dumps(c)), copy.copy, copy.deepcopy])
def test_copies_are_equal(again: object) -> None:
    found = Credentials("ann", KEY, verify="/ca.pem")
    assert again(found) == found  # type: ignore[operator]


def test_pickle_drops_the_session() -> None:
    found = Credentials("ann", KEY, session=threading.Lock())  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(found)).session is None


def test_save_and_read(tmp_path: Path) -> None:
    saved = Credentials("ann", KEY).save()
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert Credentials.from_file() == Credentials("ann", KEY)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_file_of_cartoframes(tmp_path: Path) -> None:
    (tmp_path / "cartoframes").mkdir()
    content = {"username": "ann", "api_key": KEY, "base_url": "https://ann.carto.com/", "allow_non_secure": False}
    (tmp_path / "cartoframes" / "creds.json").write_text(json.dumps(content))
    assert resolve(None) == Credentials("ann", KEY)


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_an_invalid_credentials_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CredentialsError, match=r"x\.json"):
        Credentials.from_file(tmp_path / "x.json")


def test_a_broken_file_does_not_leak_its_key(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(f'{{"api_key": "{KEY}"')
    with pytest.raises(CredentialsError) as caught:
        Credentials.from_file(tmp_path / "x.json")
    chain: BaseException | None = caught.value
    while chain is not None:
        assert KEY not in str(chain) + repr(vars(chain))
        chain = chain.__cause__ or chain.__context__


def test_credentials_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTO_API_URL", "https://org.carto.com/u/ann/")
    monkeypatch.setenv("CARTO_API_KEY", KEY)
    assert Credentials.from_env() == Credentials("ann", KEY, base_url="https://org.carto.com/user/ann")


def test_sources_of_credentials_by_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CredentialsError) as caught:
        resolve(None)
    assert all(word in str(caught.value) for word in ("argument", "set_default_credentials", "CARTO_API_URL", "file"))
    Credentials("from-file").save()
    assert resolve(None).username == "from-file"
    monkeypatch.setenv("CARTO_USERNAME", "from-env")
    assert resolve(None).username == "from-env"
    with set_default_credentials(Credentials("from-default")):
        assert resolve(None).username == "from-default"
        assert resolve(Credentials("from-argument")).username == "from-argument"
    assert resolve(None).username == "from-env"


def test_a_plain_call_holds_for_all_threads() -> None:
    set_default_credentials(Credentials("ann"))
    assert in_thread() == "ann"


def test_a_block_holds_for_its_own_context_only() -> None:
    set_default_credentials(Credentials("ann"))
    with set_default_credentials(Credentials("bob")):
        assert resolve(None).username == "bob"
        assert in_thread() == "ann"
        with set_default_credentials(Credentials("eve")):
            assert resolve(None).username == "eve"
        assert resolve(None).username == "bob"
    assert resolve(None).username == "ann"


def test_a_block_that_fails_restores() -> None:
    set_default_credentials(Credentials("ann"))
    with pytest.raises(KeyError), set_default_credentials(Credentials("bob")):
        raise KeyError
    assert resolve(None).username == "ann"


def test_overlapping_blocks_of_threads_leave_no_default_behind() -> None:
    first, second = set_default_credentials(Credentials("ann")), set_default_credentials(Credentials("bob"))
    with first, second:
        pass
    with pytest.raises(CredentialsError):
        resolve(None)


def test_only_credentials_are_taken() -> None:
    with pytest.raises(TypeError, match="Credentials"):
        resolve("ann")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Credentials"):
        set_default_credentials({"username": "ann"})  # type: ignore[arg-type]


def test_last_used_lives_as_long_as_the_credentials() -> None:
    found = Credentials("short-lived", KEY)
    resolve(found)
    assert module.last_used("https://short-lived.carto.com") is found
    del found
    gc.collect()
    assert module.last_used("https://short-lived.carto.com") is None


def in_thread() -> str | None:
    names: list[str | None] = []
    thread = threading.Thread(target=lambda: names.append(resolve(None).username))
    thread.start()
    thread.join()
    return names[0]


def test_profiles_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    bob = Credentials("bob", "b", base_url="https://maps.town.gov/user/bob")
    bob.save(path, profile="work")
    with pytest.raises(CredentialsError, match=r"only profiles, \['work'\]"):
        Credentials.from_file(path)
    Credentials("ann", KEY).save(path)
    Credentials("carl").save(path, profile="town")
    assert Credentials.from_file(path) == Credentials("ann", KEY)
    assert Credentials.from_file(path, profile="work") == bob
    assert Credentials.from_file(path, profile="town").is_public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(CredentialsError, match=r"no profile 'home', but \['town', 'work'\]"):
        Credentials.from_file(path, profile="home")


@pytest.mark.parametrize("profiles", [7, {"work": 7}, []])
def test_an_invalid_profile_is_refused(tmp_path: Path, profiles: object) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"profiles": profiles}))
    with pytest.raises(CredentialsError, match=r"x\.json does not contain credentials"):
        Credentials.from_file(tmp_path / "x.json", profile="work")


def test_forms_of_default_credentials() -> None:
    ann = Credentials("ann", KEY)
    for arguments, keywords in (
        ((ann,), {}),
        (("ann", KEY), {}),
        (("https://ann.carto.com", KEY), {}),
        ((), {"username": "ann", "api_key": KEY}),
        ((), {"base_url": "https://ann.carto.com", "api_key": KEY}),
        (("ann",), {"api_key": KEY}),
    ):
        set_default_credentials(None)
        set_default_credentials(*arguments, **keywords)
        assert resolve(None) == ann
    with set_default_credentials("bob"):
        assert resolve(None) == Credentials("bob")
    assert resolve(None) == ann


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (("creds.json",), {}, "Credentials.from_file"),
        ((), {}, "from_file"),
        ((Credentials("ann"), KEY), {}, "either credentials, or"),
        (("ann",), {"username": "bob"}, "either credentials, or"),
        ((7,), {}, "must be Credentials, not int"),
    ],
    ids=["file", "nothing", "twice", "names", "number"],
)
def test_other_default_credentials_are_explained(arguments: tuple[object, ...], keywords: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        set_default_credentials(*arguments, **keywords)  # type: ignore[arg-type]
