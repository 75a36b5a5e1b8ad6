from __future__ import annotations

import json

import pandas as pd
import pytest
from playwright.sync_api import Browser

import cartoframes_lite as cfl
from cartoframes_lite._client.publications import Publications
from cartoframes_lite.local import LocalCarto
from tests.http_servers import ScriptedServer, response
from tests.maps import browser

HTML = "<html><body><p id='shown'>{}</p></body></html>"
SCRIPT = """
<html><body><p id="shown">none</p><script>
fetch(location.origin + "/user/tester/api/v2/sql?q=SELECT+count(*)+AS+n+FROM+open_table")
  .then((response) => response.json())
  .then((found) => { document.getElementById("shown").textContent = found.rows[0].n; });
</script></body></html>
"""


@pytest.fixture
def pages(credentials: cfl.Credentials) -> Publications:
    return cfl.Client(credentials).publications


def body(head: bytes) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(head.partition(b"\r\n\r\n")[2])
    return parsed


def shown_text(chromium: Browser, url: str, password: str | None = None) -> str:
    with browser.page(chromium) as page:
        page.goto(url)
        if password is not None:
            page.get_by_placeholder("Insert your password").fill(password)
            with page.expect_navigation():
                page.keyboard.press("Enter")
        return page.inner_text("body")


def test_pages_are_listed_updated_and_deleted(pages: Publications, credentials: cfl.Credentials) -> None:
    page = pages.create(HTML.format("one"), name="b")
    assert page.url == f"{credentials.base_url}/kuviz/{page.id}"
    assert (page.name, page.privacy) == ("b", "public")
    assert page.created_at is not None
    assert page.created_at.tzinfo is not None
    other = pages.create(HTML.format("two"), name="a", password="secret")
    assert other.privacy == "password"
    assert [(one.name, one.url) for one in cfl.list_publications(credentials)] == [("a", other.url), ("b", page.url)]
    renamed = page.update(name="c")
    assert (renamed.id, renamed.name, renamed.url) == (page.id, "c", page.url)
    other.delete()
    with pytest.raises(cfl.NotFound, match=other.id):
        other.delete()
    assert pages.list() == [renamed]


def test_taken_names_are_errors_or_replaced(pages: Publications) -> None:
    page = pages.create(HTML.format("one"), name="a")
    with pytest.raises(cfl.APIError, match="taken"):
        pages.create(HTML.format("two"), name="a")
    other = pages.create(HTML.format("other"), name="b")
    with pytest.raises(cfl.APIError, match="taken"):
        other.update(name="a")
    replaced = pages.create(HTML.format("two"), name="a", password="secret", if_exists="replace")
    assert (replaced.id, replaced.privacy) == (page.id, "password")
    assert pages.create(HTML.format("three"), name="a", if_exists="replace").privacy == "public"
    assert [one.name for one in pages.list()] == ["a", "b"]


def test_replace_keeps_maps_of_the_same_name(pages: Publications, credentials: cfl.Credentials) -> None:
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    entry = cfl.Client(credentials).visualizations.create_map(["t"], name="a")
    page = pages.create(HTML.format("one"), name="a", if_exists="replace")
    assert pages.create(HTML.format("two"), name="a", if_exists="replace").id == page.id
    assert [one.id for one in cfl.list_visualizations(credentials)] == [entry.id]


def test_only_published_pages_are_deleted(pages: Publications, credentials: cfl.Credentials) -> None:
    cfl.to_carto(pd.DataFrame({"n": [1]}), "t", credentials)
    for other in ("t", cfl.Dataset("t", credentials).info().id):
        with pytest.raises(cfl.NotFound, match="no published page"):
            pages.delete(other)
    assert cfl.list_tables(credentials) == ["t"]


def test_other_keys_cannot_publish(carto: LocalCarto, pages: Publications) -> None:
    pages.create(HTML.format("one"), name="a")
    pages.create(HTML.format("two"), name="b", password="secret")
    public = cfl.Credentials(base_url=carto.base_url)
    assert [page.name for page in cfl.list_publications(public)] == ["a"]
    with pytest.raises(cfl.PermissionDenied, match="requires the master key"):
        cfl.Client(public).publications.create(HTML, name="c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"privacy": "private"}, "cannot be 'private': pass a password"),
        ({"privacy": "secret"}, "'secret'"),
        ({"privacy": "password"}, "requires a password"),
        ({"privacy": "public", "password": "x"}, "not public"),
        ({"password": " "}, "non-empty"),
        ({"name": " "}, "name must be a non-empty str"),
        ({"html": "<p>no document</p>"}, "<html> element"),
        ({"html": "<html>" + "x" * (8 << 20)}, "8,388,614 characters"),
        ({"if_exists": "append"}, "'append'"),
    ],
)
def test_invalid_arguments_are_refused_before_requests(
    scripted_server: ScriptedServer, arguments: dict[str, str], message: str
) -> None:
    pages = Publications(scripted_server.play())
    with pytest.raises(ValueError, match=message):
        pages.create(**{"html": HTML, "name": "a", **arguments})  # type: ignore[arg-type]  # what is tested
    if "if_exists" not in arguments:
        with pytest.raises(ValueError, match=message):
            pages.update("7", **{"html": HTML, **arguments})  # type: ignore[arg-type]  # what is tested
    scripted_server.close()
    assert scripted_server.heads == []


def test_key_is_not_in_a_url(scripted_server: ScriptedServer) -> None:
    answer = response("200 OK", b'{"id": "7", "name": "a", "privacy": "public"}')
    pages = Publications(scripted_server.play(answer, answer))
    page = pages.create(HTML, name="a")
    page_id = pages.update(page.id, password="secret").id
    scripted_server.close()
    created, updated = scripted_server.heads
    key = body(created)["api_key"]
    assert str(key).encode() not in created.partition(b"\r\n")[0] + updated.partition(b"\r\n")[0]
    assert (body(created)["privacy"], body(created)["if_exists"]) == ("public", "fail")
    assert updated.startswith(b"PUT /user/ann/api/v4/kuviz/7 ")
    assert (page_id, body(updated)["privacy"], body(updated)["password"]) == ("7", "password", "secret")
    assert str(key) not in repr(page) + page._repr_html_()


def test_html_links_to_the_page(pages: Publications, credentials: cfl.Credentials) -> None:
    page = pages.create(HTML, name="<a>")
    link = f"<a href='{page.url}' target='_blank' rel='noopener'>"
    assert link in page._repr_html_()
    assert link in cfl.list_publications(credentials)._repr_html_()  # type: ignore[attr-defined]  # a Listing
    assert "&lt;a&gt;" in page._repr_html_()


def test_page_is_shown_in_a_browser(chromium: Browser, pages: Publications) -> None:
    page = pages.create(HTML.format("one"), name="a")
    assert shown_text(chromium, page.url) == "one"
    page.update(HTML.format("two"))
    assert shown_text(chromium, page.url) == "two"


def test_password_is_asked_for_in_a_browser(chromium: Browser, pages: Publications) -> None:
    page = pages.create(HTML.format("content"), name="a", password="secret")
    assert "content" not in shown_text(chromium, page.url)
    assert "Invalid password" in shown_text(chromium, page.url, "wrong")
    assert shown_text(chromium, page.url, "secret") == "content"
    page.update(privacy="public")
    assert shown_text(chromium, page.url) == "content"


@pytest.mark.parametrize("password", [None, "secret"])
def test_scripts_of_pages_read_public_tables(
    chromium: Browser, pages: Publications, credentials: cfl.Credentials, password: str | None
) -> None:
    cfl.execute("CREATE TABLE open_table AS SELECT 7 AS n", credentials=credentials)
    cfl.execute("GRANT SELECT ON open_table TO publicuser", credentials=credentials)
    page = pages.create(SCRIPT, name="a", password=password)
    with browser.page(chromium) as opened:
        opened.goto(page.url)
        if password is not None:
            opened.get_by_placeholder("Insert your password").fill(password)
            opened.keyboard.press("Enter")
        opened.get_by_text("1", exact=True).wait_for()
        assert opened.inner_text("#shown") == "1"
