"""The page on security names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_promise_has_its_test():
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 50
    missing = [(path, name) for path, name in named if f"\ndef {name}(" not in (ROOT / path).read_text()]
    assert missing == []
    promises = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert [line for line in promises if "`tests/" not in line] == []
