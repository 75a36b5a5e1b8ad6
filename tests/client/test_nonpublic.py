from __future__ import annotations

import warnings

import pytest

from cartoframes_lite._client import nonpublic
from cartoframes_lite.errors import NonPublicAPIWarning


def test_each_api_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonpublic, "_warned", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for api in ("api/v1/viz", "api/v1/viz", "api/v3/me"):
            nonpublic.warn(api)
    assert [str(warning.message).split()[0] for warning in caught] == ["api/v1/viz", "api/v3/me"]
    assert {warning.category for warning in caught} == {NonPublicAPIWarning}
    assert {warning.filename for warning in caught} == {__file__}


def test_warnings_can_be_suppressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonpublic, "_warned", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with nonpublic.suppress_warnings():
            nonpublic.warn("api/v1/viz")
        assert caught == []
        nonpublic.warn("api/v1/viz")
    assert len(caught) == 1
