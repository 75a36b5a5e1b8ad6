"""All regular expressions of the package match in time linear in the length of the text."""

from __future__ import annotations

import re

import pytest

import cartoframes_lite
from tests.security.regex_attacks import LENGTH, Used, attacks, expressions, is_slow

# Expressions that are given only what they can match, by the code around them: as many characters are tried at once.
SHORT = {"cartoframes_lite._codec.names": 5000}


@pytest.mark.parametrize(
    ("expression", "searching"),
    [
        (r"(?:a|a)*b", False),
        (r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(?:select|with)\b", False),
        (r"(?:\s+|x)+y", False),
        (r"\s*Z?\s*\(", False),
        (r"<[^>]+>", True),
        (r"&.+?;", True),
        (r"\([^)]*\)", True),
        (rb"<!--.*?-->", True),
    ],
)
def test_backtracking_expressions_are_detected(expression: str | bytes, searching: bool) -> None:
    used = Used("here", re.compile(expression, re.DOTALL), searching)
    assert any(is_slow(used, text) for text in attacks(used.pattern))


def test_no_expression_backtracks() -> None:
    found = list(expressions(cartoframes_lite))
    assert len(found) > 60
    slow = {}
    for used in found:
        length = next((most for module, most in SHORT.items() if used.where.startswith(module)), LENGTH)
        text = next((text for text in attacks(used.pattern, length) if is_slow(used, text)), None)
        if text is not None:
            slow[str(used)] = text[:80]
    assert slow == {}
