"""Coverage-guided fuzzing of the decoder with atheris: ``copybinary_fuzz_guided SEEDS [options]``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["cartoframes_lite._codec.copybinary", "cartoframes_lite._codec.copy_rows"]):
    from tests.codec.copybinary_fuzzing import agrees


def one(data: bytes) -> None:
    """Try one input; its first byte determines the sizes of the blocks."""
    size = data[0] + 1 if data else 1
    assert agrees(data, [size] * 8)
    assert agrees(data[1:], [size] * 8)


atheris.Setup(sys.argv, one)
atheris.Fuzz()
