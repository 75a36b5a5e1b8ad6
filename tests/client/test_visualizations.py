from __future__ import annotations

import json

import pytest

from cartoframes_lite._client.visualizations import Visualizations

from .conftest import Wire, response


def test_a_table_that_is_not_registered_yet_is_waited_for(wire: Wire) -> None:
    found = response("200 OK", b'{"id": "7", "name": "t"}')
    service = Visualizations(wire.play(response("404 Not Found"), found, found))
    service.set_privacy("t", "link")
    wire.close()
    head, _, body = wire.heads[2].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /user/ann/api/v1/viz/7 ")
    assert json.loads(body) == {"id": "7", "privacy": "link"}


def test_an_unknown_privacy_is_refused_here(wire: Wire) -> None:
    with pytest.raises(ValueError, match="secret"):
        Visualizations(wire.play()).set_privacy("t", "secret")
