"""Synchronizations of datasets on the embedded server."""

from __future__ import annotations

import time

import pandas as pd
import pytest

import cartoframes_lite as cfl

URL = "/Source.csv"


@pytest.fixture
def source(file_server):
    file_server.files[URL] = b"name,n\na,1\n"
    return f"{file_server.url}{URL}"


@pytest.fixture
def dataset(source, credentials):
    return cfl.Dataset.from_url(source, credentials, sync_interval_s=900, privacy="link")


def until(sync, state):
    deadline = time.monotonic() + 20
    while (sync := sync.refresh()).state != state:
        assert time.monotonic() < deadline, sync
        time.sleep(0.05)
    return sync


def numbers(dataset):
    return sorted(dataset.read()["n"].tolist())


def advance(carto, sync, seconds):
    """Advance the clock, and wait until the due synchronizations have finished."""
    before = sync.refresh().ran_at
    carto.advance_clock(seconds)
    deadline = time.monotonic() + 20
    while (after := sync.refresh()).ran_at == before or after.state in ("queued", "syncing"):
        assert time.monotonic() < deadline, after
        time.sleep(0.05)
    return after


def test_a_sync_runs_immediately_and_at_each_interval(dataset, carto, file_server):
    assert dataset.name == "source"
    assert numbers(dataset) == [1]
    assert dataset.privacy == "link"
    sync = until(dataset.sync, "success")
    assert (sync.name, sync.interval_s, sync.error) == ("source", 900, None)
    assert (sync.run_at - sync.ran_at).total_seconds() == pytest.approx(900, abs=5)
    file_server.files[URL] = b"name,n\na,1\nb,2\n"
    assert advance(carto, sync, 901).state == "success"
    assert numbers(dataset) == [1, 2]
    assert dataset.privacy == "link"
    assert [found.id for found in cfl.list_syncs(dataset.credentials)] == [sync.id]
    assert "every" in sync._repr_html_()


def test_a_failed_run_keeps_the_data(dataset, carto, file_server):
    sync = until(dataset.sync, "success")
    good = file_server.files.pop(URL)
    failed = advance(carto, sync, 901)
    assert (failed.state, failed.error.code, failed.retried_times) == ("failure", 1100, 1)
    assert numbers(dataset) == [1]
    file_server.files[URL] = good.replace(b"1", b"7")
    assert advance(carto, sync, 901).error is None
    assert numbers(dataset) == [7]


def test_force_a_run(dataset, carto, file_server):
    sync = until(dataset.sync, "success")
    with pytest.raises(
        cfl.JobError, match=r"source cannot be synchronized now: it ran less than 15 minutes ago; .*on, in"
    ):
        sync.force()
    carto.advance_clock(800)
    file_server.files[URL] = b"name,n\na,5\n"
    sync = sync.update(interval_s=3600)
    assert sync.interval_s == 3600
    carto.advance_clock(200)
    assert numbers(dataset) == [1]
    before = sync.ran_at
    forced = sync.force()
    deadline = time.monotonic() + 20
    while forced.ran_at == before or forced.state != "success":
        assert time.monotonic() < deadline, forced
        time.sleep(0.05)
        forced = forced.refresh()
    assert numbers(dataset) == [5]


def test_stop_a_sync(dataset, carto, file_server):
    sync = dataset.sync
    sync.stop()
    assert dataset.sync is None
    assert cfl.list_syncs(dataset.credentials) == []
    file_server.files[URL] = b"name,n\na,9\n"
    carto.advance_clock(2000)
    assert numbers(dataset) == [1]
    with pytest.raises(cfl.NotFound):
        sync.refresh()


def test_deleting_a_dataset_deletes_its_sync(dataset, carto, file_server, credentials):
    dataset.delete()
    assert cfl.list_syncs(credentials) == []
    dataset = pd.DataFrame({"n": [7]}).carto.to_table("source", credentials)
    file_server.files[URL] = b"name,n\na,1\nb,2\n"
    carto.advance_clock(2000)
    assert dataset.sync is None
    assert numbers(dataset) == [7]


def test_a_renamed_dataset_keeps_its_sync(dataset):
    assert dataset.rename("other").sync.name == "other"
    assert dataset.sync is None


def test_the_accessor_has_the_sync(dataset, credentials):
    assert dataset.read().carto.sync.id == dataset.sync.id


@pytest.mark.parametrize(
    "keywords",
    [
        {"sync_interval_s": 899},
        {"sync_interval_s": 900, "name": "t"},
        {"sync_interval_s": 900, "collision_strategy": "skip"},
        {"sync_interval_s": 900, "privacy": "link", "wait": False},
    ],
)
def test_unsupported_sync_keywords_raise_before_any_request(keywords, source, credentials):
    with pytest.raises(ValueError, match=r"interval|synchronization"):
        cfl.Dataset.from_url(source, credentials, **keywords)
    assert cfl.list_syncs(credentials) == []
    with pytest.raises(TypeError, match="integer number"):
        cfl.Dataset.from_url(source, credentials, sync_interval_s="900")


def test_update_rejects_a_short_interval(dataset):
    with pytest.raises(ValueError, match="900 s"):
        dataset.sync.update(interval_s=60)
    assert dataset.sync.interval_s == 900


def test_a_failed_first_import_deletes_the_sync(file_server, credentials):
    with pytest.raises(cfl.ImportFailed):
        cfl.Dataset.from_url(f"{file_server.url}/nope.csv", credentials, sync_interval_s=900)
    assert cfl.list_tables(credentials) == []
    assert cfl.list_syncs(credentials) == []
