"""Unusual Python values: the write raises an error with the row, or the value makes the round trip unchanged."""

from __future__ import annotations

import datetime as dt
import enum
import math
import re
import uuid
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import cartoframes_lite as cfl
from cartoframes_lite.write.prepare import prepare

ROWS = 3
COLUMNS_OF_A_TABLE = 200
MADRID = ZoneInfo("Europe/Madrid")


class Color(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    A = "a"


MISSING = st.sampled_from([None, float("nan"), pd.NaT, pd.NA, np.datetime64("NaT"), np.timedelta64("NaT")])
KINDS = {
    "integer": st.integers(-(2**70), 2**70)
    | st.sampled_from([2**53 + 1, 2**63, -(2**63), 10**400, np.int8(-1), np.uint64(2**64 - 1), Number.ONE]),
    "boolean": st.sampled_from([True, False, np.True_]),
    "float": st.floats()
    | st.floats(width=32).map(np.float32)
    | st.sampled_from([np.float16(0.1), np.longdouble("0.1"), np.longdouble(0.5), -0.0, 1e23, 1e16, 5e-324, -1e308]),
    "decimal": st.decimals()
    | st.sampled_from([Decimal(text) for text in ("sNaN", "-0", "1E+5", "1E+500", "1E-500", "1E+999999", "Infinity")]),
    "text": st.text(max_size=5)
    | st.sampled_from(["\0", "\ud800", "infinity", "\\x41", "\\u0000", Word.A, np.str_("b")]),
    "bytes": st.binary(max_size=5) | st.just(np.bytes_(b"\0a")),
    "date": st.dates(),
    "naive": st.datetimes()
    | st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)).map(pd.Timestamp)
    | st.sampled_from([pd.Timestamp(np.datetime64("20000-01-01T00", "s")), dt.datetime(2020, 1, 1, fold=1)]),
    "aware": st.datetimes(timezones=st.sampled_from([dt.UTC, MADRID, dt.timezone(dt.timedelta(minutes=-1, seconds=1))]))
    | st.sampled_from([dt.datetime(2020, 10, 25, 2, 30, fold=fold, tzinfo=MADRID) for fold in (0, 1)])
    | st.sampled_from([dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-9)))]),
    "datetime64": st.builds(
        np.datetime64, st.integers(-(10**6), 10**6) | st.integers(-(2**62), 2**62), st.sampled_from("YMWDhms")
    ),
    "time": st.times() | st.just(dt.time(1, tzinfo=dt.UTC)),
    "timedelta": st.timedeltas()
    | st.builds(np.timedelta64, st.integers(-(2**62), 2**62), st.sampled_from(["Y", "D", "s", "us", "generic"])),
    "uuid": st.uuids(),
    "other": st.sampled_from(
        [{1}, frozenset(), Color.RED, 1j, object(), pd.Period("2020"), pd.Interval(0, 1), bytearray(b"a"), range(2)]
    ),
}
SCALARS = st.one_of(*KINDS.values(), MISSING)


@st.composite
def of_few_kinds(draw: Any, *, alone: bool) -> st.SearchStrategy[Any]:
    """Choose what the values of a column are: most of one kind, with some that are missing."""
    names = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=1 if alone else 2, unique=True))
    return st.one_of(*[KINDS[name] for name in names], *([MISSING] if draw(st.booleans()) else []))


@st.composite
def arrays_of(draw: Any) -> Any:
    dtype = draw(
        st.sampled_from(["M8[D]", "M8[Y]", "M8[us]", "m8[s]", "int8", "uint64", "f4", "f8", "?", "U3", "S3", "O"])
    )
    numbers = draw(st.lists(st.integers(-(10**6), 10**7), max_size=3))
    return np.array([abs(number) for number in numbers] if dtype == "uint64" else numbers, "i8").astype(dtype)


@st.composite
def columns(draw: Any) -> list[Any]:
    shape = draw(st.sampled_from(["scalars", "scalars", "lists", "lists", "arrays", "nested"]))
    if shape == "arrays":
        return draw(st.lists(st.none() | arrays_of(), min_size=ROWS, max_size=ROWS))
    if shape == "nested":
        keys = st.text(max_size=2) | st.sampled_from([1, "1", None, True, 1.5, (1,)])
        inner = draw(of_few_kinds(alone=False)) | MISSING
        values = st.recursive(
            inner, lambda item: st.lists(item, max_size=2) | st.dictionaries(keys, item, max_size=2), max_leaves=4
        )
        return draw(st.lists(st.none() | st.lists(values, max_size=2), min_size=ROWS, max_size=ROWS))
    values = draw(of_few_kinds(alone=draw(st.booleans())))
    if shape == "lists":
        values = st.none() | st.lists(values, max_size=3) | st.lists(values, max_size=2).map(tuple)
    return draw(st.lists(values, min_size=ROWS, max_size=ROWS))


def frame_of(column: list[Any]) -> pd.DataFrame:
    values = np.empty(len(column), object)
    for row, value in enumerate(column):
        values[row] = value
    return pd.DataFrame({"x": pd.Series(values, dtype=object)})


def is_missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and not _is_signaling(value) and bool(pd.isna(value)))


def _is_signaling(value: Any) -> bool:
    return isinstance(value, Decimal) and value.is_snan()


def is_same(sent: Any, read: Any) -> bool:
    """Compare, with the changes that docs/types.md states."""
    if is_missing(sent):
        return is_missing(read)
    if isinstance(sent, np.ndarray):
        sent = list(sent)
    if isinstance(sent, list | tuple):
        return isinstance(read, list) and len(sent) == len(read) and all(map(is_same, sent, read))
    if isinstance(sent, dict):
        return isinstance(read, dict) and sent.keys() == read.keys() and all(is_same(sent[k], read[k]) for k in sent)
    if isinstance(sent, np.timedelta64 | dt.timedelta):
        return isinstance(read, str) and _seconds(read) == _exact_us(sent)
    if isinstance(sent, dt.datetime | np.datetime64):
        return _is_same_moment(sent, read)
    if isinstance(sent, dt.date):
        return read in (sent, sent.isoformat()) or _is_same_moment(dt.datetime(*sent.timetuple()[:3]), read)
    if isinstance(sent, dt.time):
        return read in (sent, sent.isoformat())
    if isinstance(sent, uuid.UUID):
        return read == str(sent)
    if isinstance(sent, bool | np.bool_) or isinstance(read, bool | np.bool_):
        return type(bool(sent)) is type(read if isinstance(read, bool) else bool(read)) and bool(sent) is bool(read)
    if isinstance(sent, float) and isinstance(read, float) and sent == 0:
        return math.copysign(1, sent) == math.copysign(1, read)
    return bool(sent == read)


def _is_same_moment(sent: Any, read: Any) -> bool:
    if isinstance(read, str):  # in JSON
        python = sent.astype("M8[us]").item() if isinstance(sent, np.datetime64) else sent
        return read == str(sent) or (isinstance(python, dt.date) and read == python.isoformat())
    read = pd.Timestamp(read)
    if isinstance(sent, dt.datetime) and sent.tzinfo is not None:
        return read.tzinfo is not None and _us_since_1970(read) == _us_since_1970(sent)
    return read.tzinfo is None and read.to_datetime64() == (
        sent if isinstance(sent, np.datetime64) else np.datetime64(pd.Timestamp(sent).as_unit("us").asm8)
    )


def _us_since_1970(moment: dt.datetime) -> int:
    if isinstance(moment, pd.Timestamp):
        return int(moment.as_unit("us").asm8.astype("i8"))
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def _exact_us(value: Any) -> int:
    if isinstance(value, dt.timedelta):
        return value // dt.timedelta(microseconds=1)
    scale = {"D": 86_400_000_000, "s": 1_000_000, "us": 1}[np.datetime_data(value.dtype)[0]]
    return int(value.astype("i8")) * scale


def _seconds(text: str) -> int:
    """Read an interval of hours, minutes and seconds as microseconds."""
    sign, hours, minutes, seconds, rest = re.fullmatch(r"(-?)(\d+):(\d\d):(\d\d)(?:\.(\d+))?", text).groups()
    us = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1_000_000 + int((rest or "").ljust(6, "0"))
    return -us if sign else us


@pytest.mark.filterwarnings("ignore::cartoframes_lite.ConversionWarning")
def test_odd_values_come_back_or_are_refused(credentials, is_long):
    examples = 600 if is_long else 200
    accepted: list[list[Any]] = []
    messages: list[str] = []

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @example(column=[Decimal("sNaN")] * 3)
    @given(column=columns())
    def collect(column):
        try:
            prepare(frame_of(column))
        except cfl.ConversionError as error:
            messages.append(str(error))
        else:
            accepted.append(column)

    collect()
    assert [text for text in messages if not re.search(r"^column 'x'.* row \d", text, re.DOTALL)] == []
    assert len(accepted) > examples / 6
    for first in range(0, len(accepted), COLUMNS_OF_A_TABLE):
        tried = accepted[first : first + COLUMNS_OF_A_TABLE]
        series = {f"x{number}": frame_of(column)["x"] for number, column in enumerate(tried)}
        frame = pd.DataFrame({"i": range(ROWS), **series})
        table = cfl.to_carto(frame, f"odd_{first}", credentials, cartodbfy=False, progress=False)
        back = cfl.read_carto(table, credentials, coerce_float=False, progress=False)
        back = back.sort_values("i", ignore_index=True)
        for number, column in enumerate(tried):
            read = back[f"x{number}"].tolist()
            assert all(map(is_same, column, read)), f"{column!r} was read as {read!r}"
