from __future__ import annotations

import warnings

import pytest

from cartoframes_lite._client import Client, nonpublic
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import NonPublicAPIWarning

CARTO = Transport(Credentials("ann"))


def test_each_api_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonpublic, "_warned", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for api in ("api/v1/viz", "api/v1/viz", "api/v3/me"):
            nonpublic.warn(api, CARTO)
    assert [str(warning.message).split()[0] for warning in caught] == ["api/v1/viz", "api/v3/me"]
    assert {warning.category for warning in caught} == {NonPublicAPIWarning}
    assert {warning.filename for warning in caught} == {__file__}


def test_warnings_can_be_suppressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonpublic, "_warned", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with nonpublic.suppress_warnings():
            nonpublic.warn("api/v1/viz", CARTO)
        assert caught == []
        nonpublic.warn("api/v1/viz", CARTO)
    assert len(caught) == 1


@pytest.mark.parametrize("host", ["127.0.0.1:1234", "localhost", "[::1]:80"])
def test_embedded_server_does_not_warn(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(nonpublic, "_warned", set())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nonpublic.warn("api/v1/viz", Transport(Credentials(base_url=f"http://{host}/user/local")))
    with pytest.warns(NonPublicAPIWarning):  # it was not the first use of the API
        nonpublic.warn("api/v1/viz", CARTO)


def test_no_service_warns_for_the_embedded_server(monkeypatch: pytest.MonkeyPatch, credentials: Credentials) -> None:
    monkeypatch.setattr(nonpublic, "_warned", set())
    client = Client(credentials)
    page = client.publications.create("<html></html>", name="p")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client.visualizations.list("table") == []
        assert [one.name for one in client.publications.list()] == ["p"]
        assert client.users.me().username == "tester"
        page.delete()
    assert nonpublic._warned == set()
