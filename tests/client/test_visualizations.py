from __future__ import annotations

import json

import pytest

from cartoframes_lite._client.visualizations import Visualizations
from cartoframes_lite.errors import NotFound, PermissionDenied

from .conftest import Wire, response

MASTER = response("200 OK", b'{"result": [{"name": "Master"}]}')


def test_a_table_that_is_not_registered_yet_is_waited_for(wire: Wire) -> None:
    found = response("200 OK", b'{"id": "7", "name": "t"}')
    service = Visualizations(wire.play(response("404 Not Found"), MASTER, found, found))
    service.set_privacy("t", "link")
    wire.close()
    head, _, body = wire.heads[3].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /user/ann/api/v1/viz/7 ")
    assert json.loads(body) == {"id": "7", "privacy": "link"}


def test_an_unknown_privacy_is_refused_here(wire: Wire) -> None:
    with pytest.raises(ValueError, match="secret"):
        Visualizations(wire.play()).set_privacy("t", "secret")


def test_another_key_does_not_wait_for_what_it_will_not_be_shown(wire: Wire) -> None:
    service = Visualizations(wire.play(response("404 Not Found"), response("200 OK", b'{"result": []}')))
    with pytest.raises(PermissionDenied, match="asking for the dataset 't' takes the master key"):
        service.get("t")


def test_a_server_without_the_api_of_keys_is_not_taken_for_a_refusal(wire: Wire) -> None:
    Visualizations(wire.play(response("404 Not Found"))).require_master("this")


def test_a_dataset_that_never_comes(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartoframes_lite._client.visualizations._REGISTRATION_S", 0.0)
    with pytest.raises(NotFound):
        Visualizations(wire.play(response("404 Not Found"), MASTER)).get("t")
