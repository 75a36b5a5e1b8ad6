from __future__ import annotations

import pytest

from cartoframes_lite._codec.pgtypes import Kind, checked_type, convertible, family, holds, incoming, outgoing


@pytest.mark.parametrize(
    ("pgtype", "kind", "element"),
    [
        ("int4", Kind.PLAIN, None),
        ("JSON", Kind.JSON, None),
        ("numeric", Kind.NUMERIC, None),
        ("geometry", Kind.GEOMETRY, None),
        ("_int4", Kind.ARRAY, "int4"),
        ("unknown(16421)", Kind.PLAIN, None),
        ("interval", Kind.BINARY_TEXT, "interval"),
        ("polygon", Kind.BINARY_TEXT, "polygon"),
        ("_record", Kind.ARRAY, "text"),
        ("_float8", Kind.BINARY_ARRAY, "float8"),
    ],
)
def test_incoming(pgtype, kind, element):
    rule = incoming(pgtype)
    assert (rule.kind, rule.element) == (kind, element)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("character varying(20)", "text"),
        ("varchar", "text"),
        ("numeric(10,2)", "number"),
        ("timestamp(3) with time zone", "timestamptz"),
        ("_int4", "number[]"),
        ("integer[]", "number[]"),
        ("mood", "mood"),
    ],
)
def test_family(name, expected):
    assert family(name) == expected


@pytest.mark.parametrize(
    ("have", "want", "allowed"),
    [
        ("bigint", "int2", True),
        ("text", "uuid", True),
        ("text", "mood", True),
        ("date", "timestamp", True),
        ("jsonb", "text", True),
        ("text", "int4", False),
        ("text", "geometry", False),
        ("boolean", "int4", False),
        ("bytea", "text", False),
        ("timestamp", "timestamptz", False),
        ("bigint[]", "text", False),
    ],
)
def test_convertible(have, want, allowed):
    assert convertible(have, want) is allowed


@pytest.mark.parametrize(
    ("column", "values", "room"),
    [
        ("int8", "integer", True),
        ("int4", "bigint", False),
        ("numeric", "bigint", True),
        ("float8", "bigint", False),
        ("float8", "real", True),
        ("float4", "double precision", False),
        ("varchar", "text", True),
        ("text", "bigint", False),
        ("uuid", "text", False),
    ],
)
def test_holds(column, values, room):
    assert holds(column, values) is room


@pytest.mark.parametrize(
    "name",
    ["text", "numeric(10,2)", "double precision", "timestamp(3) with time zone", "int4[]", 'geo."My Type"', "text[][]"],
)
def test_names_of_types_pass(name):
    assert checked_type(name) == name


@pytest.mark.parametrize("name", ["text); DROP TABLE x; --", "int4, b text", "text DEFAULT 'a'", "", None, 5, "a.b.c"])
def test_anything_else_does_not(name):
    with pytest.raises(ValueError, match="not the name of a PostgreSQL type"):
        checked_type(name)


def test_outgoing_knows_no_type_for_nanoseconds():
    import pyarrow as pa

    assert outgoing(pa.timestamp("ns")) is None
