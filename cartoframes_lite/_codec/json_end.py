"""The end of a JSON document, proved by its structure while it arrives: brackets outside of strings that close.

Not by decoding it: features are many and large, and the server writes some things that are no JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

_STRUCTURE = b'"{}[]'
_ELSE = bytes(set(range(256)) - set(_STRUCTURE))
_TAIL_BYTES = 64
_BEHIND = re.compile(rb"[\]}]\)?;?\s{0,60}\Z")  # a callback's parenthesis may follow

_STEPS = np.zeros(256, np.int8)
_STEPS[[*b"{["]], _STEPS[[*b"}]"]] = 1, -1


def is_complete(blocks: Iterable[bytes]) -> bool:
    """Say whether blocks are one object or list from its first bracket to its last one."""
    depth, in_string, begun, held, tail = 0, False, False, b"", b""
    for block in blocks:
        tail = (tail + block[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        text = held + block
        odd = (len(text) - len(text.rstrip(b"\\"))) % 2
        text, held = text[: len(text) - odd], text[len(text) - odd :]  # what it escapes is in the next block
        marks = text.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _ELSE)
        if not marks:
            continue
        found = np.frombuffer(marks, np.uint8)
        is_inside = np.logical_xor.accumulate(found == ord('"')) ^ in_string
        depths = depth + np.cumsum(np.where(is_inside, 0, _STEPS[found]), dtype=np.int64)
        # Outside of all brackets there is nothing, before the first one and behind the last one.
        if (begun and depth == 0) or depths.min() < 0 or (depths[:-1] == 0).any():
            return False
        depth, in_string, begun = int(depths[-1]), bool(is_inside[-1]), True
    return begun and depth == 0 and not in_string and not held and _BEHIND.search(tail) is not None
