"""Any bytes as a binary COPY: an error or the right values, quickly and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartoframes_lite._codec import copybinary
from tests.codec.copybinary_fuzzing import ROWS, SCHEMA, STREAM, SYNC, TABLE, agrees, decoded, read_slowly, stream_of

LENGTHS = [-(2**31), -2, -1, 0, 1, 7, 8, 9, 255, 2**16, 2**24, 2**30, 2**31 - 1]
SIZES = st.lists(st.integers(0, 200), max_size=30)


@pytest.fixture
def examples(is_long: bool) -> settings:
    """Return the number of examples of the profile."""
    return settings(max_examples=20_000 if is_long else 100, deadline=None)


def test_the_reference_decoder_is_right():
    rows = read_slowly(STREAM)
    assert rows is not None
    assert [row[SCHEMA.names.index("words")] for row in rows] == [
        None if row.get("words") is None else str(row["words"]).encode() for row in ROWS
    ]
    assert agrees(STREAM)
    assert decoded(STREAM) == TABLE


def test_arbitrary_bytes(examples):
    @examples
    @given(st.binary(max_size=2_000), SIZES, st.booleans())
    def holds(data, sizes, with_header):
        assert agrees(STREAM[:19] + data if with_header else data, sizes)

    holds()


def test_arbitrary_cuts_into_blocks(examples, monkeypatch):
    monkeypatch.setattr(copybinary, "BLOCK_BYTES", 64)

    @examples
    @given(SIZES)
    def holds(sizes):
        assert decoded(STREAM, sizes) == TABLE

    holds()


def test_changed_inserted_and_lost_bytes(examples, monkeypatch):
    monkeypatch.setattr(copybinary, "BLOCK_BYTES", 128)
    place = st.integers(0, len(STREAM))
    change = st.tuples(
        place, st.integers(0, 12), st.binary(max_size=12) | st.sampled_from([SYNC, b"\xff\xff", STREAM[:19]])
    )

    @examples
    @given(st.lists(change, min_size=1, max_size=5), SIZES)
    def holds(changes, sizes):
        data = STREAM
        for at, lost, instead in changes:
            data = data[:at] + instead + data[at + lost :]
        assert agrees(data, sizes)

    holds()


def test_changed_lengths_and_numbers_of_fields(examples):
    places = list(range(19, len(STREAM) - 4))

    @examples
    @given(st.sampled_from(places), st.sampled_from(LENGTHS), st.sampled_from([2, 4]))
    def holds(at, length, width):
        number = (length % 2 ** (8 * width)).to_bytes(width, "big")
        assert agrees(STREAM[:at] + number + STREAM[at + width :])

    holds()


def test_repeated_lost_or_reordered_rows_are_decoded(examples):
    (start,) = [stream_of(TABLE.slice(0, 0))[:-2]]
    rows = [stream_of(TABLE.slice(number, 1))[len(start) : -2] for number in range(len(ROWS))]

    @examples
    @given(st.lists(st.sampled_from(range(len(rows))), max_size=40), SIZES)
    def holds(order, sizes):
        data = start + b"".join(rows[number] for number in order) + b"\xff\xff"
        assert decoded(data, sizes) == (TABLE.take(order) if order else TABLE.slice(0, 0))

    holds()


def test_an_error_of_the_server_at_any_place(examples):
    said = json.dumps({"error": ["division by zero"]}).encode()

    @examples
    @given(st.integers(0, len(STREAM)), SIZES, st.binary(max_size=4))
    def holds(at, sizes, behind):
        assert decoded(STREAM[:at] + said + behind, sizes) is None

    holds()


def test_values_that_look_like_rows(examples):
    mark = (len(SCHEMA) + 1).to_bytes(2, "big") + (8).to_bytes(4, "big") + SYNC

    @examples
    @given(st.lists(st.sampled_from([mark, SYNC, b"\xff\xff", STREAM, b"x", b""]), max_size=6), SIZES)
    def holds(parts, sizes):
        table = pa.Table.from_pylist([{"raw": b"".join(parts)}, {"words": "x"}], SCHEMA)
        result = decoded(stream_of(table), sizes)
        assert result is None or result == table

    holds()


def test_tables_as_postgresql_sends_them(credentials, examples):
    import cartoframes_lite as cfl

    client = cfl.Client(credentials)
    query = (
        "SELECT '\\xa1b2c3d4e5f60718'::bytea, n::int4, (n * 1000003)::int8, n / 7.0::float8, n % 2 = 0,"
        " date '2000-01-01' + n, timestamp '1999-01-01' + n * interval '1 second', repeat('é', n % 5),"
        " decode(repeat('00ff', n % 3), 'hex') FROM generate_series(1, 40) n"
    )
    with client.copy.copy_to(f"COPY ({query}) TO STDOUT WITH (FORMAT binary)") as blocks:
        data = b"".join(blocks)
    whole = decoded(data)
    assert whole is not None
    assert whole["whole"].to_pylist() == list(range(1, 41))

    @examples
    @given(st.integers(0, len(data) - 1), st.integers(0, 255), SIZES)
    def holds(at, byte, sizes):
        assert agrees(data[:at] + bytes([byte]) + data[at + 1 :], sizes)
        assert decoded(data[:at], sizes) is None

    holds()


_LIMITED = """
import resource, sys, time
sys.path[:0] = sys.argv[1:2]
from tests.codec.copybinary_fuzzing import STREAM, agrees, decoded
decoded(STREAM)  # what is loaded on first use is loaded
status = open('/proc/self/status').read()
used = 1024 * int(status.partition('VmSize:')[2].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
started = time.process_time()
for length in (2**31 - 1, 2**30, 2**24, -(2**31), -2):
    number = (length % 2**32).to_bytes(4, 'big')
    for at in range(19, len(STREAM) - 4):
        assert agrees(STREAM[:at] + number + STREAM[at + 4:]), (length, at)
mega = 1 << 20
for data in (STREAM[:19] * 1000, STREAM[19:-2] * 2000, b'\\xff' * mega, bytes(mega), STREAM[:19] + bytes(mega)):
    for sizes in ((), [1] * 1000, [4096] * 300):
        assert decoded(data, sizes) is None
print(time.process_time() - started)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_no_length_exhausts_memory_or_time():
    here = str(Path(__file__).parents[2])
    result = subprocess.run([sys.executable, "-c", _LIMITED, here], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert float(result.stdout) < 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer is for Linux")
def test_coverage_guided_fuzzing(tmp_path):
    pytest.importorskip("atheris", reason="pip install cartoframes_lite[fuzz]")
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for number in range(len(ROWS)):
        (seeds / str(number)).write_bytes(stream_of(TABLE.slice(number)))
    command = [
        sys.executable,
        "-m",
        "tests.codec.copybinary_fuzz_guided",
        str(seeds),
        "-max_total_time=240",
        "-rss_limit_mb=2048",
        "-timeout=5",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Done" in result.stderr
