"""CartoCSS parser; the error messages are those of carto 0.16.3, the parser of CARTO."""

from __future__ import annotations

import time

import pytest

from cartoframes_lite.local.maps.cartocss import Style, StyleError, parse, symbolizers


def read(text: str) -> Style:
    return parse(text, name="style0")


def drawn(text: str, zoom: float = 5) -> list[tuple[str, dict[str, str]]]:
    """Return kinds and attributes of all symbolizers of a style, ignoring filters."""
    return [(one.kind, one.attributes) for one in symbolizers(read(text).at(zoom).definitions)]


def value(text: str) -> str:
    """Return the value of the only property of a style."""
    ((_, attributes),) = drawn(f"#layer {{ {text} }}")
    (found,) = attributes.values()
    return found


INVALID = {
    "#layer0 { marker-wid: 20; }": "style0:1:10 Unrecognized rule: marker-wid. Did you mean marker-width?",
    "#layer0 { a: b; c: d; }": (
        "style0:1:10 Unrecognized rule: a. Did you mean ?\nstyle0:1:16 Unrecognized rule: c. Did you mean ?"
    ),
    "#layer0{line-width:1;}\n\n#layer0{\n  foo:1;\n}": "style0:4:2 Unrecognized rule: foo",
    "#layer0 { marker-width: 20 ": "style0:1:27 missing closing `}`",
    "#layer0 { marker-width: 2; } }": "style0:1:29 missing opening `{`",
    "#layer0 { marker-width 20; }": "style0:1:10 Invalid code: marker-width 20;",
    "layer0 { marker-width: 2; }": "style0:1:0 Invalid code: layer0 { marker-width: 2;",
    "#layer0{line-width:1;;line-color:red}": "style0:1:21 Invalid code: ;",
    "#layer0 { marker-width: abc; }": (
        "style0:1:10 Invalid value for marker-width, the type float is expected. abc (of type keyword)  was given."
    ),
    "#layer0 { marker-fill: notacolor; }": (
        "style0:1:10 Invalid value for marker-fill, the type color is expected. notacolor (of type keyword)  was given."
    ),
    "#layer0 { marker-placement: foo; }": (
        "style0:1:10 Invalid value for marker-placement, the type keyword (options: point, line, interior,"
        " vertex-first, vertex-last) is expected. foo (of type keyword)  was given."
    ),
    "#layer0 { marker-allow-overlap: yes; }": (
        "style0:1:10 Invalid value for marker-allow-overlap, the type boolean is expected. yes (of type keyword)"
        "  was given."
    ),
    "#layer0{line-dasharray:5,3,a}": (
        "style0:1:8 Invalid value for line-dasharray, the type numbers is expected. 5, 3, a (of type float)  was given."
    ),
    "#layer0 { marker-width: @x; }": "style0:1:24 variable @x is undefined",
    "#layer0{polygon-fill:lighten(red)}": "style0:1:33 incorrect number of arguments for lighten(). 2 expected.",
    "#layer0 [foo>'abc'] { marker-width: 2; }": 'style0:1:8 Cannot use operator ">" with value abc',
    "#layer0[a=foo]{line-width:1}": "style0:1:7 foo is not a valid keyword in a filter expression",
    "#layer0 [zoom>40] { marker-width: 2; }": "style0:1:8 Only zoom levels between 0 and 25 supported.",
    "#layer0::a::b{line-width:1}": "style0:1:12 Encountered second attachment name.",
    "#layer0 { text-name: [name]; }": "style0:1:10 Property text-face-name required for defining text styles.",
    "#layer0 { line-color: red; polygon-gamma: 2; text-size: 12; }": (
        "style0:1:45 Property text-name required for defining text styles."
    ),
    "Map { marker-width: 3;}": "style0:1:6 Rule marker-width not allowed for Map.",
    "Map{background-color:foo}": (
        "style0:1:4 Invalid value for background-color, the type color is expected. foo (of type keyword)  was given."
    ),
    "#layer0{ background-color:red }": "style0:1:9 Map properties are not permitted in other rules",
    "  \n": "style0: CartoCSS is empty",
}


@pytest.mark.parametrize("text", INVALID)
def test_invalid_cartocss_has_the_messages_of_carto(text: str) -> None:
    with pytest.raises(StyleError) as refused:
        read(text)
    assert refused.value.message == INVALID[text]


def test_error_columns_count_the_internal_layer_name() -> None:
    with pytest.raises(StyleError, match=r"^style1:1:10 "):
        parse("#l { marker-wid: 20; }", name="style1", layer="layer1")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("#l { polygon-pattern-file: url(http://example.com/a.png); }", "polygon-pattern-file"),
        ("#l { marker-file: url(http://example.com/a.svg); }", "marker-file"),
        ("#l { building-height: 3; }", "building-height"),
        ("#l { marker-comp-op: multiply; }", "marker-comp-op: multiply"),
        ("#l { comp-op: screen; }", "comp-op: screen"),
        ("#l { image-filters: agg-stack-blur(2,2); }", "image-filters"),
        ("#l { marker-fill: ramp([a], (red, blue)); }", r"ramp\(\)"),
        ("#l { line-smooth: [a]; }", "line-smooth by row"),
        ("#l { line-dasharray: 0.001, 0.001; }", "line-dasharray"),
        ("Map { background-image: url(a.png); }", "background-image"),
    ],
)
def test_unsupported_properties_are_rejected_by_name(text: str, named: str) -> None:
    with pytest.raises(StyleError, match=rf"style0:1:\d+ {named}\S* .*not supported"):
        read(text)


@pytest.mark.parametrize(
    "text", ["#l { comp-op: src-over; line-width: 1; }", "#l { line-comp-op: src-over; line-width: 1; }"]
)
def test_default_comp_op_is_accepted(text: str) -> None:
    assert drawn(text) == [("line", {"stroke-width": "1"})]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("red", "#ff0000"),
        ("#0f8", "#00ff88"),
        ("#00ff88", "#00ff88"),
        ("rgb(1, 2, 300)", "#0102ff"),
        ("rgba(1, 2, 3, 0.5)", "rgba(1, 2, 3, 0.5)"),
        ("hsl(10, 20%, 30%)", "#5c423d"),
        ("hsla(10, 20%, 30%, 0.5)", "rgba(92, 66, 61, 0.5)"),
        ("transparent", "rgba(0, 0, 0, 0)"),
        ("lighten(#f00, 10%)", "#ff3333"),
        ("darken(#ff3333, 10)", "#ff0000"),
        ("fadeout(red, 20%)", "rgba(255, 0, 0, 0.8)"),
        ("fadein(rgba(255, 0, 0, 0.5), 20%)", "rgba(255, 0, 0, 0.7)"),
        ("saturate(#aabbcc, 20%)", "#9cbbda"),
        ("desaturate(#aabbcc, 10%)", "#b1bbc5"),
        ("mix(red, blue, 50%)", "#800080"),
        ('"red"', "red"),
    ],
)
def test_colors(text: str, found: str) -> None:
    assert value(f"polygon-fill: {text};") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2px", "2"),
        ("1e2", "100"),
        ("1 + 2*3", "7"),
        ("(2+1)*2", "6"),
        ("7 - 2", "5"),
        ("[w]", "[w]"),
        ("[w]*2+1", "[w]*2+1"),
        ("([w]+1)*2", "([w]+1)*2"),
        ('"[w]/2"', "[w]/2"),
        ("3 /* pixels */", "3"),
    ],
)
def test_numbers_and_expressions(text: str, found: str) -> None:
    assert value(f"marker-width: {text};") == found


def test_the_first_declaration_of_a_variable_counts() -> None:
    assert drawn("@a: @b; @b: 4; @b: 5; #l { line-width: @a * 2; }") == [("line", {"stroke-width": "8"})]


def test_circular_variables_are_rejected() -> None:
    with pytest.raises(StyleError, match="nested deeper"):
        read("@a: @a; #l { line-width: @a; }")


@pytest.mark.parametrize("text", ["#l{" * 60 + "}" * 60, "#l{line-width:" + "(" * 60 + "1" + ")" * 60 + "}"])
def test_deep_nesting_is_rejected(text: str) -> None:
    with pytest.raises(StyleError, match="nested deeper"):
        read(text)


def test_comments_are_ignored() -> None:
    assert drawn("/* { */ #l { // }\n line-width: 1; /* ; */ line-color: red } // the end") == [
        ("line", {"stroke-width": "1", "stroke": "#ff0000"})
    ]


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("[a = 1]", ("[a] = 1",)),
        ("[a!=1][b>=-1.5]", ("[a] != 1", "[b] >= -1.5")),
        ("[a='it\\'s']", ("[a] = 'it\\'s'",)),
        ('[a="it\'s"]', ("[a] = 'it\\'s'",)),
        ("[a=~'b.*']", ("[a].match('b.*')",)),
        ("[a=null]", ("[a] = null",)),
        ("['a b'=true]", ("[a b] = true",)),
        ("[[a]>[b]]", ("[a] > [b]",)),
        ('["mapnik::geometry_type"=1]', ("[mapnik::geometry_type] = 1",)),
    ],
)
def test_filters_on_attributes(text: str, filters: tuple[str, ...]) -> None:
    (one,) = read(f"#l{text} {{ line-width: 1 }}").definitions
    assert one.filters == filters


def test_filters_accept_variables() -> None:
    (one,) = read("@m: 5; #l[a>=@m][zoom<@m] { line-width: 1 }").definitions
    assert (one.filters, one.min_zoom, one.max_zoom) == (("[a] >= 5",), 0, 4)


@pytest.mark.parametrize(
    ("text", "zooms"),
    [("[zoom=3]", {3}), ("[zoom>3][zoom<=5]", {4, 5}), ("[zoom>=3][zoom<5]", {3, 4}), ("[zoom<1]", {0})],
)
def test_filters_on_zoom(text: str, zooms: set[int]) -> None:
    style = read(f"#l{text} {{ line-width: 1 }}")
    assert {zoom for zoom in range(26) if style.at(zoom).definitions} == zooms


def test_fractional_zooms_are_rounded() -> None:
    style = read("#l[zoom>=5] { line-width: 1 }")
    assert not style.at(4.4).definitions
    assert style.at(4.6).definitions


def test_style_columns_are_those_it_uses() -> None:
    style = read(
        '#l[a>1]["mapnik::geometry_type"=1] { marker-fill: [b]; marker-width: [c]*2; line-width: 2;'
        " text-name: [d] + ' [x'; text-face-name: 'X'; }"
    )
    assert style.columns == {"a", "b", "c", "d"}


def test_precedence_of_rules_and_declarations() -> None:
    assert drawn("#l[a=1] { line-width: 2 } #l { line-width: 1; line-color: red }") == [
        ("line", {"stroke-width": "2", "stroke": "#ff0000"})
    ]
    assert drawn("#l { line-width: 1 } #l { line-width: 2 }") == [("line", {"stroke-width": "2"})]
    assert drawn("#l { line-width: 1; line-width: 2 }") == [("line", {"stroke-width": "1"})]


def test_symbolizers_are_in_text_order() -> None:
    assert [kind for kind, _ in drawn("#l { marker-width: 2; polygon-fill: red; line-width: 1; }")] == [
        "markers",
        "polygon",
        "line",
    ]


def test_instances_repeat_a_symbolizer() -> None:
    assert drawn("#l { a/line-width: 5; line-width: 1; a/line-color: red }") == [
        ("line", {"stroke-width": "5", "stroke": "#ff0000"}),
        ("line", {"stroke-width": "1"}),
    ]


def test_attachments_are_in_text_order() -> None:
    style = read("#l::case { line-width: 6 } #l { line-width: 2; ::over { line-width: 1; ::top { line-width: 0.5 } } }")
    assert style.attachments == ["case", "", "over", "over/top"]


def test_any_id_selects_the_layer_but_no_class() -> None:
    style = read("#one, #two { line-width: 1 } * { line-color: red } .roads { line-width: 9 }")
    assert len(style.definitions) == 2
    assert drawn("#one, #two { line-width: 1 } * { line-color: red } .roads { line-width: 9 }") == [
        ("line", {"stroke-width": "1", "stroke": "#ff0000"})
    ]


def test_map_background_color() -> None:
    assert read("@sea: #abc; Map { background-color: @sea; }").background == "#aabbcc"
    assert read("#l { line-width: 1 }").background is None


def test_styles_without_symbolizers() -> None:
    assert read("#l {}").definitions == ()


def test_invalid_mapnik_expressions_are_rejected() -> None:
    with pytest.raises(StyleError, match="marker-width"):
        read('#l { marker-width: "[w] +"; }')


@pytest.mark.parametrize(
    "text",
    [
        "#a" * 20000,
        "#l{" + "".join(f"some-property-{n}: 1;" for n in range(5000)) + "}",
        "#l[a=1" * 5000,
        "#l{" + "x" * 50000 + ":1}",
        "#a,#b{" * 30 + "line-width:1" + "}" * 30,
    ],
)
def test_hostile_texts_are_rejected_quickly(text: str) -> None:
    began = time.process_time()
    with pytest.raises(StyleError):
        read(text)
    assert time.process_time() - began < 2
