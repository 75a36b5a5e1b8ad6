"""The embedded server sends the responses that were recorded from CARTO's own servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto
from tests.contract.comparison import comparable
from tests.contract.recorded import Replay, load

FILES = [
    "sql",
    "errors",
    "auth",
    "formats",
    "copyfrom",
    "copyto",
    "batch",
    "maps_anonymous",
    "maps_tiles",
    "maps_named",
]
DIFFERING: dict[str, str] = {}


def parameters(files: list[str]) -> list[object]:
    return [
        pytest.param(
            file,
            case["case"],
            id=case["case"],
            marks=[pytest.mark.xfail(reason=DIFFERING[case["case"]])] if case["case"] in DIFFERING else [],
        )
        for file in files
        for case in load(file)
    ]


def replays(server: LocalCarto, files: list[str]) -> dict[str, Replay]:
    names = {"user": server.credentials.username, "master": server.credentials.api_key, "public_role": "publicuser"}
    made = {file: Replay(server.base_url, {case["case"]: case for case in load(file)}, names) for file in files}
    made[files[0]].prepare()
    return made


@pytest.fixture(scope="module")
def unlimited(carto_server: LocalCarto) -> dict[str, Replay]:
    carto_server.reset()
    return replays(carto_server, FILES)


@pytest.fixture(scope="module")
def limited() -> Iterator[dict[str, Replay]]:
    with cartoframes_lite.local.start(user="tester", rate_limit=(1, 1)) as server:
        yield replays(server, ["rate_limit"])


@pytest.mark.parametrize(("file", "name"), parameters(FILES))
def test_response(unlimited: dict[str, Replay], file: str, name: str) -> None:
    check(unlimited[file], name)


@pytest.mark.parametrize(("file", "name"), parameters(["rate_limit"]))
def test_response_with_rate_limit(limited: dict[str, Replay], file: str, name: str) -> None:
    check(limited[file], name)


def check(replay: Replay, name: str) -> None:
    case = replay.cases[name]
    response = replay.play(name)
    got, wanted = comparable(case, response, replay.filled(case["response"]))
    assert got == wanted


def test_every_difference_has_a_case() -> None:
    known = {case["case"] for file in [*FILES, "rate_limit"] for case in load(file)}
    assert set(DIFFERING) <= known
