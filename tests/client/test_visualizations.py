from __future__ import annotations

import json
from typing import Any

import pytest

from cartoframes_lite._client import visualizations
from cartoframes_lite._client.visualizations import Permission, Visualizations
from cartoframes_lite.errors import APIError, CartoWarning, NotFound, PermissionDenied
from tests.http_servers import ScriptedServer, response

MASTER = response("200 OK", b'{"result": [{"name": "Master"}]}')
NO_MASTER = response("200 OK", b'{"result": []}')


def dataset(**members: object) -> bytes:
    members = {"id": "7", "name": "t", "type": "table", "privacy": "PRIVATE", **members}
    return response("200 OK", json.dumps(members).encode())


def page(*names: str) -> bytes:
    entries = [{"id": name, "name": name, "type": "table", "privacy": "PUBLIC"} for name in names]
    return response("200 OK", json.dumps({"visualizations": entries, "total_entries": 99}).encode())


def body(head: bytes) -> object:
    return json.loads(head.partition(b"\r\n\r\n")[2])


def test_set_privacy_waits_for_a_new_table(scripted_server: ScriptedServer) -> None:
    service = Visualizations(
        scripted_server.play(response("404 Not Found"), MASTER, dataset(), dataset(privacy="LINK"))
    )
    service.set_privacy("t", "link")
    scripted_server.close()
    assert scripted_server.heads[3].startswith(b"PUT /user/ann/api/v1/viz/7 ")
    assert body(scripted_server.heads[3]) == {"id": "7", "privacy": "link"}


def test_set_privacy_rejects_an_unknown_value(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="secret"):
        Visualizations(scripted_server.play()).set_privacy("t", "secret")  # type: ignore[arg-type]  # what is tested


def test_get_with_a_regular_key_does_not_wait(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(response("404 Not Found"), NO_MASTER))
    with pytest.raises(PermissionDenied, match="reading the dataset 't' requires the master key"):
        service.get("t")


def test_require_master_without_an_auth_api(scripted_server: ScriptedServer) -> None:
    Visualizations(scripted_server.play(response("404 Not Found"))).require_master("this")


def test_get_of_a_missing_dataset_raises(scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visualizations, "_REGISTRATION_TIMEOUT_S", 0.0)
    with pytest.raises(NotFound, match="'t'"):
        Visualizations(scripted_server.play(response("404 Not Found"), MASTER)).get("t")


def test_a_silently_ignored_rename_raises(scripted_server: ScriptedServer) -> None:
    with pytest.raises(APIError, match="kept the name 't' and rejected 'u'"):
        Visualizations(scripted_server.play(dataset(), dataset())).update("t", name="u")


@pytest.mark.parametrize(("name", "sanitized"), [("Café 1", "caf_1"), ("select", "select_t"), ("T", "t")])
def test_a_renamed_dataset_has_its_sanitized_name(name: str, sanitized: str, scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(dataset(), dataset(name=sanitized)))
    assert service.update("t", name=name).name == sanitized


def test_a_rename_to_a_taken_name_warns(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(dataset(), dataset(name="u_1")))
    with pytest.warns(CartoWarning, match="'t' is named 'u_1' now, because 'u' was taken"):
        assert service.update("t", name="U").name == "u_1"


def test_a_renamed_map_keeps_its_case(scripted_server: ScriptedServer) -> None:
    before, after = dataset(type="derived", name="A"), dataset(type="derived", name="My Map")
    assert Visualizations(scripted_server.play(before, after)).update("7", name="My Map").name == "My Map"


@pytest.mark.parametrize(("asked", "requests"), [(None, 1), ("private", 1), ("public", 3)])
def test_the_privacy_of_a_map_is_set_afterwards(asked: Any, requests: int, scripted_server: ScriptedServer) -> None:
    created = dataset(type="derived", privacy="PRIVATE")
    service = Visualizations(scripted_server.play(created, created, dataset(type="derived", privacy="PUBLIC")))
    assert service.create_map(["t"], privacy=asked).privacy == ("public" if asked == "public" else "private")
    scripted_server.close()
    assert body(scripted_server.heads[0]) == {"tables": ["t"]}
    assert len(scripted_server.heads) == requests
    if asked == "public":
        assert body(scripted_server.heads[2]) == {"id": "7", "privacy": "public"}


def test_a_rejected_privacy_of_a_map_is_noted(scripted_server: ScriptedServer) -> None:
    created = dataset(type="derived")
    refused = response("403 Forbidden", b'{"errors": ["Privacy over account public map quota"]}')
    service = Visualizations(scripted_server.play(created, created, refused, MASTER))
    with pytest.raises(PermissionDenied, match="public map quota") as caught:
        service.create_map(["t"], privacy="public")
    assert "The map 7 was created, but it is 'private' instead of 'public'." in caught.value.__notes__


def test_a_map_of_unknown_tables_raises(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(response("400 Bad Request", b'{"errors": null}')))
    with pytest.raises(APIError, match="check with list_datasets") as caught:
        service.create_map(["nope", "t"])
    assert "nope, t" in str(caught.value)
    for tables in ("t", []):
        with pytest.raises(ValueError, match="at least one dataset"):
            service.create_map(tables)


def test_names_are_quoted_in_the_path(scripted_server: ScriptedServer) -> None:
    Visualizations(scripted_server.play(dataset())).find("../sql?q=1")
    scripted_server.close()
    assert scripted_server.heads[0].startswith(b"GET /user/ann/api/v1/viz/..%2Fsql%3Fq%3D1?with")


def test_update_with_a_regular_key_is_denied(scripted_server: ScriptedServer) -> None:
    with pytest.raises(PermissionDenied, match="changing the dataset 't' requires the master key"):
        Visualizations(scripted_server.play(dataset(), response("401 Unauthorized"), NO_MASTER)).update("t", tags=[])


def test_pages_are_read_until_two_attempts_agree(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visualizations, "_PAGE_SIZE", 2)
    # "a" goes after the first page, and "e" comes: "c" moves to the page that has been read already.
    torn = [page("a", "b"), page("d", "e"), page()]
    whole = [page("b", "c"), page("d", "e"), page()]
    found = Visualizations(scripted_server.play(*torn, *whole, *whole)).list("table")
    scripted_server.close()
    assert [entry.name for entry in found] == ["b", "c", "d", "e"]
    assert b"order=name" in scripted_server.heads[0]


def test_a_list_that_keeps_changing_has_all_entries(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visualizations, "_PAGE_SIZE", 2)
    monkeypatch.setattr(visualizations, "_LIST_ATTEMPTS", 2)
    readings = [page("a", "b"), page("d"), page("b", "c"), page("d")]  # "c" is missed once, "a" goes
    found = Visualizations(scripted_server.play(*readings)).list("table")
    assert [entry.name for entry in found] == ["a", "b", "c", "d"]


def test_lists_of_two_pages_are_read_again(scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visualizations, "_PAGE_SIZE", 2)
    torn, whole = [page("a", "b"), page()], [page("b", "c"), page()]  # "a" goes, and "c" moves to the first page
    found = Visualizations(scripted_server.play(*torn, *whole, *whole)).list("table")
    assert [entry.name for entry in found] == ["b", "c"]


def test_tags_must_not_be_a_str(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play())
    with pytest.raises(TypeError, match="'rail'"):
        service.list("table", tags="rail")
    with pytest.raises(TypeError, match="'rail'"):
        service.update("t", tags="rail")
    with pytest.raises(ValueError, match="None"):
        service.update("t", privacy=None)


def test_a_single_page_is_read_once(scripted_server: ScriptedServer) -> None:
    found = Visualizations(scripted_server.play(page("a", "b"))).list("derived", locked=True)
    scripted_server.close()
    assert [entry.name for entry in found] == ["a", "b"]
    query = scripted_server.heads[0].partition(b" HTTP")[0]
    assert b"types=derived" in query
    assert b"locked=true" in query
    assert b"exclude_shared=true" in query


@pytest.mark.parametrize(
    ("tags", "sent", "listed"),
    [(["rail"], b"tags=rail", ["a", "b"]), (["road", "rail"], None, ["a", "b", "c"]), ([], None, ["a", "b", "c", "d"])],
)
def test_entries_with_any_of_the_tags_are_listed(
    tags: list[str], sent: bytes | None, listed: list[str], scripted_server: ScriptedServer
) -> None:
    tagged = {"a": ["rail"], "b": ["x", "Rail"], "c": ["road"], "d": ["railway"]}
    entries = [{"id": n, "name": n, "type": "table", "privacy": "PUBLIC", "tags": t} for n, t in tagged.items()]
    answer = response("200 OK", json.dumps({"visualizations": entries, "total_entries": 4}).encode())
    found = Visualizations(scripted_server.play(answer)).list("table", tags=tags)
    scripted_server.close()
    assert [entry.name for entry in found] == listed
    query = scripted_server.heads[0].partition(b" HTTP")[0]
    assert (b"tags=" in query) is (sent is not None)
    assert sent is None or sent in query


def test_sharing_keeps_other_permissions(scripted_server: ScriptedServer) -> None:
    others = [
        {"type": "user", "entity": {"id": "1", "username": "bob"}, "access": "r"},
        {"type": "org", "entity": {"id": "2", "name": "acme"}, "access": "r"},
    ]
    service = Visualizations(
        scripted_server.play(dataset(permission={"id": "p", "acl": others}), response("200 OK", b"{}"))
    )
    entry = service.get("t")
    assert entry.permissions == (Permission("user", "1", "bob", "r"), Permission("org", "2", "acme", "r"))
    service.share(entry, "user", "1", "rw")
    scripted_server.close()
    assert scripted_server.heads[1].startswith(b"PUT /user/ann/api/v1/perm/p ")
    assert body(scripted_server.heads[1]) == {
        "acl": [
            {"type": "org", "entity": {"id": "2"}, "access": "r"},
            {"type": "user", "entity": {"id": "1"}, "access": "rw"},
        ]
    }


def test_share_rejects_unknown_access(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(dataset(permission={"id": "p"})))
    with pytest.raises(ValueError, match="'x'"):
        service.share(service.get("t"), "user", "1", "x")  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize(("sent", "expected"), [(-1, None), (0, 0), (7, 7), (None, None)])
def test_row_count_is_none_before_an_estimate(
    scripted_server: ScriptedServer, sent: int | None, expected: int | None
) -> None:
    found = Visualizations(scripted_server.play(dataset(table={"row_count": sent}))).find("t")
    assert found is not None
    assert found.row_count == expected


NOT_VIEWABLE = response("403 Forbidden", b'{"errors": "Visualization not viewable", "errors_cause": null}')


def test_what_a_regular_key_may_not_view_is_not_found(scripted_server: ScriptedServer) -> None:
    assert Visualizations(scripted_server.play(NOT_VIEWABLE, NO_MASTER)).find("t") is None


def test_what_the_master_key_may_not_view_is_denied(scripted_server: ScriptedServer) -> None:
    with pytest.raises(PermissionDenied, match="not viewable"):
        Visualizations(scripted_server.play(NOT_VIEWABLE, MASTER)).find("t")


def test_an_update_keeps_the_dependents_that_its_response_lacks(scripted_server: ScriptedServer) -> None:
    known = dataset(dependent_visualizations=[{"name": "m"}], dependent_visualizations_count=1)
    changed = Visualizations(scripted_server.play(known, dataset(title="T"))).update("t", title="T")
    assert (changed.title, changed.dependents, changed.dependent_count) == ("T", ("m",), 1)
