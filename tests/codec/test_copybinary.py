from __future__ import annotations

import datetime as dt
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite._codec import copybinary
from cartoframes_lite._codec.copy_rows import BrokenStream
from cartoframes_lite._codec.copybinary import Decoder, decode, encode

SYNC = bytes.fromhex("a1b2c3d4e5f60718")
OTHER_SYNC = bytes.fromhex("18a1b2c3d4e5f607")
SCHEMA = pa.schema(
    [
        ("small", pa.int16()),
        ("whole", pa.int32()),
        ("big", pa.int64()),
        ("single", pa.float32()),
        ("double", pa.float64()),
        ("flag", pa.bool_()),
        ("day", pa.date32()),
        ("clock", pa.time64("us")),
        ("moment", pa.timestamp("us")),
        ("instant", pa.timestamp("us", tz="UTC")),
        ("words", pa.large_string()),
        ("raw", pa.large_binary()),
    ]
)


def stream(table: pa.Table, sync: bytes = SYNC) -> bytes:
    """Compose a binary COPY as PostgreSQL sends it: the sync is the first column of each row."""
    table = table.add_column(0, "sync", pa.array([sync] * table.num_rows, pa.binary()))
    return b"".join(encode(table.to_batches(), table.schema))


def decoded(data: bytes, schema: pa.Schema = SCHEMA, pieces: int = 1 << 20) -> pa.Table:
    decoder = Decoder(schema, SYNC)
    blocks = (data[start : start + pieces] for start in range(0, len(data), pieces))
    return pa.Table.from_batches(decode(blocks, decoder), schema)


def rows_of(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), SCHEMA)


ROW = {
    "small": -1,
    "whole": 2**31 - 1,
    "big": -(2**63),
    "single": 1.5,
    "double": 5e-324,
    "flag": True,
    "day": dt.date(1, 1, 1),
    "clock": dt.time(23, 59, 59, 999_999),
    "moment": dt.datetime(9999, 12, 31, 23, 59, 59, 999_999),
    "instant": dt.datetime(1969, 12, 31, tzinfo=dt.UTC),
    "words": "ñandú 日本 😀 \n\t\"',",
    "raw": b"\0\xff",
}

any_row = st.fixed_dictionaries(
    {
        "small": st.none() | st.integers(-(2**15), 2**15 - 1),
        "whole": st.none() | st.integers(-(2**31), 2**31 - 1),
        "big": st.none() | st.integers(-(2**63), 2**63 - 1),
        "single": st.none() | st.floats(width=32, allow_nan=False),
        "double": st.none() | st.floats(allow_nan=False),
        "flag": st.none() | st.booleans(),
        "day": st.none() | st.dates(),
        "clock": st.none() | st.times(),
        "moment": st.none() | st.datetimes(),
        "instant": st.none() | st.datetimes(timezones=st.just(dt.UTC)),
        "words": st.none() | st.text(),
        "raw": st.none() | st.binary(),
    }
)


@given(st.lists(any_row, max_size=20), st.integers(1, 400))
def test_every_value_is_decoded_from_any_block_sizes(rows, pieces):
    table = rows_of(*rows)
    assert decoded(stream(table), pieces=pieces).equals(table)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_stream_that_ends_early_is_never_decoded(rows):
    data = stream(rows_of(*[ROW] * rows))
    for end in range(len(data)):
        with pytest.raises(BrokenStream):
            decoded(data[:end])


def test_what_follows_the_trailer_is_refused():
    with pytest.raises(BrokenStream):
        decoded(stream(rows_of(ROW)) + b"\n")


def test_an_error_after_the_rows_is_left_over():
    said = b'{"error":["division by zero"]}'
    with pytest.raises(BrokenStream) as caught:
        decoded(stream(rows_of(ROW, ROW))[:-2] + said)
    assert json.loads(caught.value.rest[-len(said) :]) == {"error": ["division by zero"]}


def test_a_page_of_a_proxy_is_no_stream():
    with pytest.raises(BrokenStream, match="does not begin"):
        decoded(b"<html><body>502 Bad Gateway</body></html>")


@pytest.mark.parametrize("at", ["words", "raw"])
def test_a_sync_mark_within_a_value_starts_no_row(at):
    mark = (len(SCHEMA) + 1).to_bytes(2, "big") + (8).to_bytes(4, "big") + SYNC
    value = mark if at == "raw" else "x"
    data = stream(rows_of({**ROW, at: value}, ROW))
    if at == "raw":
        with pytest.raises(BrokenStream):
            decoded(data)
    else:
        assert decoded(data).num_rows == 2


@given(st.binary(max_size=200).filter(lambda data: data != b"\xff\xff"))
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(BrokenStream):
        decoded(stream(rows_of(ROW))[:-2] + data)


@given(st.data())
def test_a_changed_byte_never_changes_the_number_of_rows(data):
    table = rows_of(ROW, ROW, ROW)
    original = bytearray(stream(table))
    at = data.draw(st.integers(0, len(original) - 1))
    original[at] ^= data.draw(st.integers(1, 255))
    try:
        result = decoded(bytes(original))
    except BrokenStream:
        return
    assert result.num_rows == 3


def test_no_rows():
    assert decoded(stream(SCHEMA.empty_table())).equals(SCHEMA.empty_table())


def test_no_columns_beside_the_sync():
    assert decoded(stream(pa.table({})), pa.schema([])).num_rows == 0


def test_a_row_larger_than_a_block_is_waited_for(monkeypatch):
    monkeypatch.setattr(copybinary, "BLOCK_BYTES", 64)
    table = rows_of(ROW, {**ROW, "raw": b"x" * 10_000}, ROW)
    assert decoded(stream(table), pieces=100).equals(table)


@pytest.mark.parametrize(("kind", "width"), [(pa.date32(), 4), (pa.timestamp("us"), 8)])
@pytest.mark.parametrize("value", ["infinity", "-infinity"])
def test_infinite_dates_are_missing_and_reported(kind, width, value):
    limit = (1 << (8 * width - 1)) - 1 if value == "infinity" else -(1 << (8 * width - 1))
    row = (2).to_bytes(2, "big") + (8).to_bytes(4, "big") + SYNC + width.to_bytes(4, "big")
    data = stream(pa.table({}))[:19] + row + limit.to_bytes(width, "big", signed=True) + b"\xff\xff"
    decoder = Decoder(pa.schema([("d", kind)]), SYNC)
    (batch,) = decode([data], decoder)
    assert batch.to_pydict() == {"d": [None]}
    assert decoder.infinite == {"d"}


def test_text_that_is_not_utf8_is_refused():
    schema = pa.schema([("words", pa.large_string())])
    data = stream(pa.table({"words": pa.array([b"\xff\xfe"])}))
    with pytest.raises(BrokenStream, match="UTF-8"):
        decoded(data, schema)


@pytest.mark.parametrize("pieces", [1, 7, 1 << 20])
@pytest.mark.parametrize("sync", [SYNC, OTHER_SYNC])
def test_rows_may_have_either_sync(sync, pieces):
    decoder = Decoder(SCHEMA, SYNC, OTHER_SYNC)
    data = stream(rows_of(ROW, {}, ROW), sync)
    blocks = [data[start : start + pieces] for start in range(0, len(data), pieces)]
    assert pa.Table.from_batches(decode(blocks, decoder), SCHEMA) == rows_of(ROW, {}, ROW)
    assert decoder.first_sync == sync


def test_rows_with_both_syncs_are_broken():
    second = stream(rows_of(ROW), OTHER_SYNC)[19:]
    data = stream(rows_of(ROW))[:-2] + second
    with pytest.raises(BrokenStream):
        list(decode([data], Decoder(SCHEMA, SYNC, OTHER_SYNC)))


def test_a_stream_without_rows_has_no_sync():
    decoder = Decoder(SCHEMA, SYNC, OTHER_SYNC)
    assert sum(batch.num_rows for batch in decode([stream(rows_of())], decoder)) == 0
    assert decoder.first_sync is None


@pytest.mark.parametrize(
    "names", [["big"], ["big", "words"], ["words", "flag"], ["day", "flag", "raw", "small", "double"]]
)
def test_nulls_at_any_place_between_columns(names):
    schema = pa.schema([SCHEMA.field(name) for name in names])
    whole = {name: ROW[name] for name in names}
    rows = [whole] + [{**whole, name: None} for name in names] + [dict.fromkeys(names)]
    for first in range(len(rows)):
        table = pa.Table.from_pylist(rows[first:], schema)
        assert decoded(stream(table), schema) == table
