"""Check that a JSON document is complete, by counting brackets outside of strings.

It is not decoded, because GeoJSON can be large, and the server writes some values that are not valid JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

_STRUCTURAL = b'"{}[]'
_OTHER_BYTES = bytes(set(range(256)) - set(_STRUCTURAL))
_TAIL_BYTES = 64
_END = re.compile(rb"[\]}]\)?;?\s{0,60}\Z")  # the parenthesis of a JSONP callback may follow

_STEPS = np.zeros(256, np.int8)
_STEPS[[*b"{["]], _STEPS[[*b"}]"]] = 1, -1


def is_complete(blocks: Iterable[bytes]) -> bool:
    """Return whether the blocks are exactly one object or list, from its first to its last bracket."""
    depth, in_string, has_begun, held, tail = 0, False, False, b"", b""
    for block in blocks:
        tail = (tail + block[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        text = held + block
        odd = (len(text) - len(text.rstrip(b"\\"))) % 2
        text, held = text[: len(text) - odd], text[len(text) - odd :]  # the escaped character is in the next block
        structure = text.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHER_BYTES)
        if not structure:
            continue
        found = np.frombuffer(structure, np.uint8)
        is_inside = np.logical_xor.accumulate(found == ord('"')) ^ in_string
        depths = depth + np.cumsum(np.where(is_inside, 0, _STEPS[found]), dtype=np.int64)
        # No bracket or string may follow the end of the outermost object or list.
        if (has_begun and depth == 0) or depths.min() < 0 or (depths[:-1] == 0).any():
            return False
        depth, in_string, has_begun = int(depths[-1]), bool(is_inside[-1]), True
    return has_begun and depth == 0 and not in_string and not held and _END.search(tail) is not None
