"""Number of requests of each kind of write, which decides how long a small one takes over a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl
from cartoframes_lite.write import attempts, early_staging, staging_names
from cartoframes_lite.write.early_staging import EarlyStaging
from tests.delay_proxy import DelayProxy
from tests.test_keys import ALL, regular_key

PLAIN = pd.DataFrame({"n": range(10), "name": "a name", "half": 0.5, "time": pd.Timestamp("2026-01-01", tz="UTC")})
FRAME = gpd.GeoDataFrame(PLAIN, geometry=gpd.points_from_xy(PLAIN["n"], PLAIN["n"]), crs=4326)

Write = Callable[[cfl.Credentials], object]


@pytest.fixture
def proxy(carto) -> Iterator[DelayProxy]:
    with DelayProxy(carto.base_url, 0.0) as proxy:
        yield proxy


@pytest.fixture
def requests_of(proxy) -> Callable[[Write, cfl.Credentials], list[str]]:
    """Return a function that calls a write through the proxy, and lists the paths of its requests."""

    def call(write: Write, key: cfl.Credentials) -> list[str]:
        proxy.reset()
        write(cfl.Credentials(api_key=key.api_key, base_url=proxy.base_url))
        return [path.partition("/api/")[2] for _, path in proxy.requests]

    return call


@pytest.fixture
def leftovers(credentials) -> Callable[[], list[str]]:
    def names() -> list[str]:
        return [name for name in cfl.Client(credentials).sql.tables() if name.startswith(staging_names.PREFIX)]

    return names


def to_carto(frame: object = FRAME, **keywords: object) -> Write:
    return lambda credentials: cfl.to_carto(frame, "owned", credentials, progress=False, **keywords)


NEW = {
    "fail": to_carto(),
    "replace": to_carto(if_exists="replace"),
    "append": to_carto(if_exists="append"),
    "upsert": to_carto(if_exists="upsert", key="n"),
    "plain": to_carto(PLAIN, cartodbfy=False),
    "no geometry": to_carto(PLAIN),
    "with ids": to_carto(FRAME.assign(cartodb_id=range(5, 15))),
    "types": to_carto(dtype={"half": "numeric(10,2)", "n": "smallint"}),
    "no rows": to_carto(FRAME.iloc[:0]),
    "an iterable": to_carto([FRAME, FRAME]),
}
EXISTING = {
    "replace": (4, to_carto(if_exists="replace")),
    "replace by other columns": (4, to_carto(FRAME.rename(columns={"name": "title"}), if_exists="replace")),
    "replace by another type": (4, to_carto(FRAME.assign(half="x"), if_exists="replace")),
    "append": (4, to_carto(if_exists="append")),
    "append an iterable": (4, to_carto([FRAME, FRAME], if_exists="append")),
    "append some columns": (4, to_carto(PLAIN[["name"]], if_exists="append")),
    "upsert": (4, to_carto(if_exists="upsert", key="n")),
    "delete_rows": (4, to_carto(if_exists="delete_rows")),
    "Dataset.append": (4, lambda credentials: cfl.Dataset("owned", credentials).append(FRAME)),
    "append no rows": (3, to_carto(FRAME.iloc[:0], if_exists="append")),
    "Dataset.delete_rows": (3, lambda credentials: cfl.Dataset("owned", credentials).delete_rows("n < 5")),
}


@pytest.mark.parametrize("write", NEW.values(), ids=NEW)
def test_a_new_table_takes_three_requests(write, requests_of, credentials, leftovers):
    requests = requests_of(write, credentials)
    assert requests in (
        ["v2/sql", "v2/sql/copyfrom", "v2/sql"],
        ["v2/sql", "v2/sql"],  # no rows
    )
    assert leftovers() == []


@pytest.mark.parametrize(("number", "write"), EXISTING.values(), ids=EXISTING)
def test_an_existing_table_takes_at_most_four(number, write, requests_of, credentials, leftovers):
    cfl.to_carto(FRAME, "owned", credentials)
    assert len(requests_of(write, credentials)) == number
    assert leftovers() == []


@pytest.mark.parametrize("if_exists", ["replace", "append"])
def test_a_plain_table_takes_four_requests(if_exists, requests_of, credentials):
    write = to_carto(PLAIN, if_exists=if_exists, cartodbfy=False)
    write(credentials)
    assert len(requests_of(write, credentials)) == 4


@pytest.mark.parametrize("create", [True, False])
def test_an_append_with_a_regular_key_takes_four_requests(create, requests_of, credentials):
    cfl.to_carto(FRAME, "owned", credentials)
    key = regular_key(credentials, ALL, create=create)
    assert len(requests_of(to_carto(if_exists="append"), key)) == 4
    assert len(cfl.read_carto("owned", credentials)) == 20


@pytest.mark.parametrize("column", ["half", "missing"])
def test_an_unexpected_staging_table_takes_one_request_more_once(column, requests_of, credentials, leftovers):
    frame = FRAME.assign(missing=None)[["n", column]]
    cfl.to_carto(FRAME.assign(missing=1.5), "owned", credentials, dtype={"half": "numeric"})
    append = to_carto(frame, if_exists="append")
    assert [len(requests_of(append, credentials)) for _ in "123"] == [5, 4, 4]
    assert cfl.read_carto("owned", credentials)[column].isna().sum() == (30 if column == "missing" else 0)
    assert leftovers() == []


def test_what_is_remembered_of_a_table_is_never_relied_on(requests_of, credentials, leftovers):
    sql = cfl.Client(credentials).sql
    frame = pd.DataFrame({"n": [1], "missing": [None]})
    cfl.to_carto(frame.assign(missing=1.5), "owned", credentials)
    for declared in ("timestamp", "boolean", "text", "timestamp"):
        sql.send(f"ALTER TABLE owned ALTER missing TYPE {declared} USING NULL")
        requests_of(to_carto(frame, if_exists="append"), credentials)
    sql.send("DROP TABLE owned")
    requests_of(to_carto(frame.assign(missing="text"), if_exists="append"), credentials)
    assert cfl.read_carto("owned", credentials)["missing"].tolist() == ["text"]
    assert leftovers() == []


def test_a_table_that_must_not_exist_takes_one_request(requests_of, proxy, credentials):
    cfl.to_carto(FRAME, "owned", credentials)
    with pytest.raises(cfl.TableExistsError):
        requests_of(to_carto(), credentials)
    assert len(proxy.requests) == 1


def test_a_refused_frame_leaves_no_staging_table(requests_of, proxy, credentials, leftovers):
    cfl.to_carto(FRAME, "owned", credentials)
    with pytest.raises(cfl.ConversionError, match="not in the table"):
        requests_of(to_carto(FRAME.assign(other=1), if_exists="append"), credentials)
    assert len(proxy.requests) == 2
    assert leftovers() == []


def test_only_large_tables_are_vacuumed(requests_of, credentials):
    rows = pd.DataFrame({"n": range(5_000), "name": "a name of some length"})
    cfl.to_carto(rows, "owned", credentials)
    writes = {
        to_carto(rows, if_exists="replace"): 5,
        to_carto(rows[:1], if_exists="upsert", key="n"): 5,
        EXISTING["Dataset.delete_rows"][1]: 4,
    }
    for write, number in writes.items():
        requests = requests_of(write, credentials)
        assert len(requests) == number
        assert "v2/sql/job" in requests[-2:]  # at the same time as the receipt is dropped


@pytest.mark.parametrize(
    "rows", [pytest.param(FRAME, id="small"), pytest.param(pd.concat([FRAME] * 500), id="vacuumed")]
)
def test_a_second_write_opens_no_connection(rows, carto):
    cfl.to_carto(rows, "owned", carto.credentials)
    with DelayProxy(carto.base_url, 0.1) as proxy:
        account = cfl.Credentials(api_key=carto.credentials.api_key, base_url=proxy.base_url)
        write = to_carto(rows, if_exists="replace")
        write(account)
        proxy.reset()
        write(account)
        assert (proxy.round_trips, proxy.connections) == (4, 0)


def test_an_interrupt_after_the_response_leaves_no_table(credentials, leftovers, monkeypatch):
    """A signal may arrive between the response that names the staging table and its first use."""

    def interrupted(*args: object, **keywords: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    to_carto()(credentials)
    for name in "end_write", "check_target":
        module = early_staging if name == "end_write" else attempts
        monkeypatch.setattr(module, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            to_carto(if_exists="append")(credentials)
    monkeypatch.setattr(EarlyStaging, "take", lambda early, definition: setattr(early, "staged", None) or interrupted())
    with pytest.raises(KeyboardInterrupt):
        to_carto(if_exists="append")(credentials)
    to_carto(if_exists="append")(credentials)
    assert leftovers() == []
