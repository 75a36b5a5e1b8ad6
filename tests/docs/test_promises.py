"""The pages of guarantees name existing tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("page", "least"), [("security.md", 50), ("reliability.md", 30)])
def test_every_promise_has_its_test(page, least):
    text = (ROOT / "docs" / page).read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > least
    missing = [(path, name) for path, name in named if f"\ndef {name}(" not in (ROOT / path).read_text()]
    assert missing == []
    files = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert [path for path in files if not (ROOT / path).exists()] == []
    promises = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert [line for line in promises if "`tests/" not in line] == []
