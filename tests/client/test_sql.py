from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from cartoframes_lite._client.sql import SQL
from tests.http_servers import ScriptedServer, response


def test_a_query_is_a_form_in_the_body(scripted_server: ScriptedServer) -> None:
    sql = SQL(scripted_server.play(response("200 OK", b'{"rows": [{"a": "\xc3\xb1"}]}')))
    assert sql.rows("SELECT 'ñ' AS a") == [{"a": "ñ"}]
    scripted_server.close()
    head, _, body = scripted_server.heads[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /user/ann/api/v2/sql HTTP/1.1")
    assert parse_qs(body.decode()) == {"q": ["SELECT 'ñ' AS a"]}


def test_a_format_that_is_not_json_gives_bytes(scripted_server: ScriptedServer) -> None:
    sql = SQL(scripted_server.play(response("200 OK", b"a\r\n1\r\n")))
    assert sql.send("SELECT 1 AS a", format="csv", filename="x") == b"a\r\n1\r\n"
    scripted_server.close()
    assert b"format=csv" in scripted_server.heads[0]
    assert b"filename=x" in scripted_server.heads[0]


def test_a_query_over_a_megabyte_is_refused_here(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="the SQL API accepts 1000000"):
        SQL(scripted_server.play()).send("SELECT '" + "ñ" * 500_000 + "'")
