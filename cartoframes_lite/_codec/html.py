"""HTML tables for notebook representations, and HTML of messages as plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape, unescape

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_LINK = re.compile(r"<a\b([^<>]*+)>([^<]*+)</a>", re.IGNORECASE)
_ADDRESS = re.compile(r"""\bhref=['"](?:mailto:)?([^'"?]*)""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """A value of a table that is a link.

    Attributes
    ----------
    url : str or None
        None: plain text.
    text : str, optional
        None: the URL.
    """

    url: str | None
    text: str | None = None

    def html(self) -> str:
        """Return an HTML link, or plain text unless the URL is one of a web page."""
        shown = escape(self.text or self.url or "")
        if self.url is None or not self.url.lower().startswith(("https://", "http://")):
            return shown
        return f"<a href='{escape(self.url)}' target='_blank' rel='noopener'>{shown}</a>"


_EMPTY: tuple[object, ...] = (None, "", (), [], Link(None))


def format_bytes(size_bytes: int | None) -> str:
    """Format a number of bytes with its unit; "?" if it is None."""
    if size_bytes is None:
        return "?"
    value = float(size_bytes)
    for unit in _UNITS[:-1]:
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {_UNITS[-1]}"


def plain_text(html: str) -> str:
    """Return the text of HTML without tags; links are followed by their address in parentheses."""
    return unescape(re.sub(r"</?[a-zA-Z][^<>]*+>", "", _LINK.sub(_link_text, html)))


def _link_text(link: re.Match[str]) -> str:
    """Return the text of a link, followed by its address if that is another."""
    address = _ADDRESS.search(link[1])
    return link[2] if address is None or address[1] == link[2] else f"{link[2]} ({address[1]})"


def html_table(title: str, rows: Mapping[str, object], *, share: float | None = None) -> str:
    """Return an HTML table of two columns.

    Parameters
    ----------
    title : str
    rows : mapping
        Labels and values; rows whose value is None or empty are omitted.
    share : float, optional
        Fraction from 0 to 1, shown as a bar.
    """
    left = "style='text-align:left'"
    lines = [
        f"<tr><th {left}>{escape(name)}</th><td {left}>{_cell(value)}</td></tr>"
        for name, value in rows.items()
        if value not in _EMPTY
    ]
    bar = "" if share is None else f"<progress value='{min(share, 1):.4f}' max='1'></progress>"
    return f"<div><b>{escape(title)}</b> {bar}<table>{''.join(lines)}</table></div>"


def html_grid(title: str, rows: Sequence[Mapping[str, object]], *, hidden: int = 0) -> str:
    """Return an HTML table with one line per row.

    Parameters
    ----------
    title : str
    rows : sequence of mappings
        The keys are the headers. Columns whose values are all missing, None or empty are omitted.
    hidden : int
        Number of further rows, to be mentioned below the table.
    """
    left = "style='text-align:left'"
    keys = dict.fromkeys(key for row in rows for key in row)
    names = [key for key in keys if any(row.get(key) not in _EMPTY for row in rows)]
    header = "".join(f"<th {left}>{escape(name)}</th>" for name in names)
    lines = [
        "".join(f"<td {left}>{'' if row.get(name) is None else _cell(row[name])}</td>" for name in names)
        for row in rows
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    more = f"<div>and {hidden:,} more</div>" if hidden else ""
    table = f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f"<div><b>{escape(title)}</b>{table}{more}</div>"


def _cell(value: object) -> str:
    """Return the HTML of a value."""
    return value.html() if isinstance(value, Link) else escape(_text(value))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S %Z")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
