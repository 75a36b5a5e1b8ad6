from __future__ import annotations

import json
from typing import Any

import pytest

from cartoframes_lite._client import paging, visualizations
from cartoframes_lite._client.visualizations import Permission, Visualizations
from cartoframes_lite.errors import APIError, AuthenticationError, NameTakenWarning, NotFound, PermissionDenied
from tests.http_servers import ScriptedServer, response

MASTER = response("200 OK", b'{"result": [{"name": "Master", "type": "master"}]}')
NO_MASTER = response("200 OK", b'{"result": []}')


def dataset(**members: object) -> bytes:
    members = {"id": "7", "name": "t", "type": "table", "privacy": "PRIVATE", **members}
    return response("200 OK", json.dumps(members).encode())


def page(*ids: str, total: int | None = None, is_owner: bool = True, **members: object) -> bytes:
    entries = [{"id": i, "name": i, "type": "table", "privacy": "PUBLIC", **members} for i in ids]
    totals = {"total_entries": len(ids) if total is None else total, **({"total_user_entries": 99} if is_owner else {})}
    return response("200 OK", json.dumps({"visualizations": entries, **totals}).encode())


def a_map(**members: object) -> bytes:
    return dataset(type="derived", **members)


def body(head: bytes) -> object:
    return json.loads(head.partition(b"\r\n\r\n")[2])


def test_set_privacy_waits_for_a_new_table(scripted_server: ScriptedServer) -> None:
    service = Visualizations(
        scripted_server.play(response("404 Not Found"), MASTER, page(), dataset(), dataset(privacy="LINK"))
    )
    service.set_privacy("t", "link")
    scripted_server.close()
    # CARTO adds new tables to the catalog before it responds with a list.
    assert scripted_server.heads[2].startswith(b"GET /user/ann/api/v1/viz?types=table")
    assert scripted_server.heads[4].startswith(b"PUT /user/ann/api/v1/viz/7 ")
    assert body(scripted_server.heads[4]) == {"id": "7", "privacy": "link"}


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
        Visualizations(scripted_server.play(response("404 Not Found"), MASTER, page())).get("t")


def test_a_silently_ignored_rename_raises(scripted_server: ScriptedServer) -> None:
    with pytest.raises(APIError, match="kept the name 't' and rejected 'u'"):
        Visualizations(scripted_server.play(dataset(), dataset())).update("t", name="u")


@pytest.mark.parametrize(("name", "sanitized"), [("Café 1", "caf_1"), ("select", "select_t"), ("T", "t")])
def test_a_renamed_dataset_has_its_sanitized_name(name: str, sanitized: str, scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(dataset(), dataset(name=sanitized)))
    assert service.update("t", name=name).name == sanitized


def test_a_rename_to_a_taken_name_warns(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(dataset(), dataset(name="u_1")))
    with pytest.warns(NameTakenWarning, match="'t' is named 'u_1' now, because 'u' was taken"):
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


def test_pages_are_read_until_two_attempts_agree(scripted_server: ScriptedServer) -> None:
    # "a" goes after the first page, and "e" comes: "c" moves to the page that has been read already.
    torn = [page("a", "b", total=4), page("d", "e", total=4)]
    whole = [page("b", "c", total=4), page("d", "e", total=4)]
    found = Visualizations(scripted_server.play(*torn, *reversed(whole), *whole)).list("table")
    scripted_server.close()
    assert [entry.name for entry in found] == ["b", "c", "d", "e"]
    assert b"order=name" in scripted_server.heads[0]
    assert [b"order_direction=desc" in head for head in scripted_server.heads] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_a_list_that_keeps_changing_has_all_entries(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "_ATTEMPTS", 2)
    torn = [page("a", "b", total=3), page("d", total=3)]  # "c" is missed, "a" goes
    whole = [page("d", "c", total=3), page("b", total=3)]
    found = Visualizations(scripted_server.play(*torn, *whole)).list("table")
    assert [entry.name for entry in found] == ["a", "b", "c", "d"]


def test_entries_of_equal_names_are_all_listed(scripted_server: ScriptedServer) -> None:
    # The order of equal names differs from page to page: "2" is in both, "3" in none.
    up = [page("1", "2", total=3, name="x"), page("2", total=3, name="x")]
    down = [page("3", "2", total=3, name="x"), page("1", total=3, name="x")]
    found = Visualizations(scripted_server.play(*up, *down)).list("derived")
    assert {entry.id for entry in found} == {"1", "2", "3"}


def test_pages_may_be_smaller_than_requested(scripted_server: ScriptedServer) -> None:
    pages = [page("a", total=2), page("b", total=2)]
    assert [entry.id for entry in Visualizations(scripted_server.play(*pages, *pages)).list("table")] == ["a", "b"]


def test_a_list_with_an_unknown_key_raises(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(page("a", is_owner=False), response("401 Unauthorized")))
    with pytest.raises(AuthenticationError, match="check the api_key of Credentials"):
        service.list("table")


def test_a_list_with_a_regular_key_is_public(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(page("a", is_owner=False), NO_MASTER))
    assert service.list("table", privacy="private") == []  # CARTO ignores the filter without the master key


def test_tables_of_listed_maps_are_requested_once(scripted_server: ScriptedServer) -> None:
    tables = [{"name": "u"}, {"name": '"bob".places'}, {"name": '"ann".own'}]
    server = scripted_server.play(page("7", type="derived"), a_map(related_tables=tables))
    (entry,) = Visualizations(server).list("derived")
    assert entry.tables == entry.tables == ("bob.places", "own", "u")
    assert "bob.places" in entry._repr_html_()
    scripted_server.close()
    assert scripted_server.heads[1].startswith(b"GET /user/ann/api/v1/viz/7?")


def test_tables_of_a_public_map(scripted_server: ScriptedServer) -> None:
    datasets = [{"name": "t", "table": {"name": '"public".t'}}, {"name": "u", "table": {}}]
    service = Visualizations(scripted_server.play(a_map(related_canonical_visualizations=datasets)))
    assert service.tables_of("7") == ("t", "u")
    scripted_server.close()
    assert b"fetch_related_canonical_visualizations=true" in scripted_server.heads[0]


def test_html_of_a_deleted_map(scripted_server: ScriptedServer) -> None:
    (entry,) = Visualizations(scripted_server.play(page("7", type="derived"), response("404 Not Found"))).list(
        "derived"
    )
    assert "Map 7" in entry._repr_html_()


def test_datasets_of_other_accounts_have_their_schema(scripted_server: ScriptedServer) -> None:
    shared = page("7", name="places", table={"name": '"bob".places'})
    (entry,) = Visualizations(scripted_server.play(shared)).list("table", shared=True)
    assert entry.name == "bob.places"


def test_a_renamed_dataset_whose_table_is_stale(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(dataset(table={"name": "t"}), dataset(name="u", table={"name": "t"})))
    assert service.update("t", name="u").name == "u"


def test_a_map_is_not_found_by_name(scripted_server: ScriptedServer) -> None:
    assert Visualizations(scripted_server.play(a_map(name="where"))).find("where") is None


NOT_VIEWABLE = response("403 Forbidden", b'{"errors": "Visualization not viewable", "errors_cause": null}')
PASSWORD = response("403 Forbidden", b'{"errors": "Visualization not viewable", "errors_cause": "privacy_password"}')


@pytest.mark.parametrize(
    ("denial", "keys", "error", "message"),
    [
        (NOT_VIEWABLE, NO_MASTER, PermissionDenied, "'t' requires the master key"),
        (NOT_VIEWABLE, response("401 Unauthorized"), AuthenticationError, "check the api_key"),
        (NOT_VIEWABLE, MASTER, PermissionDenied, "(?s)not viewable.*belongs to another account"),
        (PASSWORD, MASTER, PermissionDenied, "protected by a password"),
    ],
    ids=["regular", "unknown", "master", "password"],
)
def test_private_entries_say_what_key_is_needed(
    denial: bytes, keys: bytes, error: type[APIError], message: str, scripted_server: ScriptedServer
) -> None:
    service = Visualizations(scripted_server.play(denial, keys))
    with pytest.raises(error, match=message) as caught:
        service.find("t")
    assert caught.value.detail == ("privacy_password" if denial is PASSWORD else None)


def test_maps_are_shared_for_reading_only(scripted_server: ScriptedServer) -> None:
    service = Visualizations(scripted_server.play(a_map(permission={"id": "p"})))
    with pytest.raises(ValueError, match="'t' is a map"):
        service.share(service.get("7"), "user", "1", "rw")


def test_entries_without_access_are_no_permissions(scripted_server: ScriptedServer) -> None:
    acl = [{"type": "user", "entity": {"id": "1", "username": "bob"}, "access": "n"}]
    assert Visualizations(scripted_server.play(dataset(permission={"id": "p", "acl": acl}))).get("t").permissions == ()


def test_sharing_the_dataset_of_another_account(scripted_server: ScriptedServer) -> None:
    shared = dataset(permission={"id": "p", "owner": {"username": "bob"}})
    service = Visualizations(scripted_server.play(shared, response("401 Unauthorized"), MASTER))
    with pytest.raises(PermissionDenied, match="sharing 't' was denied, although the key is the master key"):
        service.share(service.get("t"), "user", "1", "r")


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
    content = {"visualizations": entries, "total_entries": 4, "total_user_entries": 4}
    answer = response("200 OK", json.dumps(content).encode())
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


def test_an_update_keeps_the_dependents_that_its_response_lacks(scripted_server: ScriptedServer) -> None:
    known = dataset(dependent_visualizations=[{"name": "m"}], dependent_visualizations_count=1)
    changed = Visualizations(scripted_server.play(known, dataset(title="T"))).update("t", title="T")
    assert (changed.title, changed.dependents, changed.dependent_count) == ("T", ("m",), 1)
