from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cartoframes_lite._codec.html import Link, format_bytes, html_grid, html_table, plain_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(None, "?"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (10**9, "1 GB"), (2**40, "1.1 TB"), (10**15, "1 PB")],
)
def test_amounts(size_bytes, text):
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Try <a href='mailto:a@b.com?subject=Empty file'>contact us</a>.", "Try contact us (a@b.com)."),
        ('See <a target="_blank" href="https://b.com/x">these docs</a>', "See these docs (https://b.com/x)"),
        ("<a href='mailto:a@b.com'>a@b.com</a>", "a@b.com"),
        ("<b>1 &lt; 2</b> and 2 < 3", "1 < 2 and 2 < 3"),
    ],
)
def test_plain_text_of_html(html, text):
    assert plain_text(html) == text


def test_rows_are_escaped_and_empty_ones_left_out():
    shown = html_table(
        "<t>", {"a": "<script>", "none": None, "empty": (), "zero": 0, "many": 12345, "list": ("x", "y")}
    )
    assert "<script>" not in shown
    assert "&lt;t&gt;" in shown
    for text in ("&lt;script&gt;", "12,345", "x, y", ">0<"):
        assert text in shown
    assert "none" not in shown
    assert "empty" not in shown


def test_times_have_their_zone():
    assert "2026-01-02 03:04:05 UTC" in html_table("t", {"at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)})


def test_a_share_is_a_bar():
    assert "value='0.2500'" in html_table("t", {}, share=0.25)
    assert "value='1.0000'" in html_table("t", {}, share=1.7)


@pytest.mark.parametrize(
    ("link", "html"),
    [
        (Link("https://a.com/x"), "<a href='https://a.com/x' target='_blank' rel='noopener'>https://a.com/x</a>"),
        (
            Link("https://a.com/'<", "<b>"),
            "<a href='https://a.com/&#x27;&lt;' target='_blank' rel='noopener'>&lt;b&gt;</a>",
        ),
        (Link("javascript:alert(1)", "name"), "name"),
        (Link(None, "<name>"), "&lt;name&gt;"),
    ],
)
def test_only_urls_of_pages_are_links(link, html):
    assert f">{html}</td>" in html_table("t", {"a": link})
    assert f">{html}</td>" in html_grid("t", [{"a": link}])


def test_empty_links_are_omitted():
    assert "page" not in html_table("t", {"page": Link(None)}) + html_grid("t", [{"n": 1, "page": Link(None)}])
