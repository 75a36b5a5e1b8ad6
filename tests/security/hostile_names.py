"""Names that contain SQL, resemble another object, or are ambiguous."""

from __future__ import annotations

from hypothesis import strategies as st

_SQL = "DROP TABLE bystander"
_ENDS = ['"', "'", "$$", "$publish$", "$publish_$", "*/", "\\'", ")", '")', "')", "::regclass)", "]", "}"]
_BEGINNINGS = ["", "x", "select 1) AS q", "with a as (select 1) select 1", "values (1)", "TABLE x", "%s", "{}", "{0}"]
_KNOWN = [
    *("bystander;", "public.bystander", '"bystander"', "other.bystander", '"other"."bystander"', "bystander\0"),
    *("pg_class", "pg_catalog.pg_class", "pg_authid", "cartodb.cdb_tablemetadata", "cartodb_local.account"),
    *("spatial_ref_sys", "information_schema.tables", "pg_temp.x", "publicuser", "$user", "current_user"),
    *("select", "user", "table", "null", "ctid", "xmin", "oid", "cartodb_id", "the_geom", "the_geom_webmercator"),
    *("!bbox!", "<%= job_id %>", "a.b.c", ".", "..", "../x", "/etc/passwd", "x y", " ", "\t\n", "_query", "source"),
]


def _injected(parts: tuple[str, str, str]) -> str:
    beginning, end, tail = parts
    return f"{beginning}{end}; {_SQL}; {tail}"


# The 63rd byte of these is in the middle of a character, and without what follows they are like each other.
_CUT = st.builds(
    lambda letter, size, tail: letter * size + tail,
    st.sampled_from(["é", "日", "😀", "x", "ß"]),
    st.integers(14, 70),
    st.text(max_size=3),
)

NAMES = st.one_of(
    st.sampled_from(_KNOWN),
    st.builds(
        _injected,
        st.tuples(
            st.sampled_from(_BEGINNINGS),
            st.sampled_from(_ENDS),
            st.sampled_from(["--", "/*", "SELECT (1", "", 'CREATE TABLE "x', "SELECT '", 'SELECT 1 AS "a', "$$"]),
        ),
    ),
    _CUT,
    st.text(min_size=1, max_size=80),
    st.text("\"'`$\\;().[]{}%-/*\0\n\t xé日", min_size=1, max_size=20),
    st.integers(2_000, 100_000).map("n".__mul__),
)
