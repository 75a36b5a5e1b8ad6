from __future__ import annotations

import inspect
from typing import TypedDict, Unpack

import pytest

from cartoframes_lite._client.keywords import shared_keywords


class Options(TypedDict, total=False):
    """Options.

    Parameters
    ----------
    size : int, default 3
        In pixels.
    color : str, optional
    """

    size: int
    color: str | None


@shared_keywords(Options, defaults=Options(size=3, color=None))
def draw(text: str, *, bold: bool = False, **keywords: Unpack[Options]) -> tuple[object, ...]:
    """Draw a text.

    Parameters
    ----------
    text : str
    **keywords
        Those of ``Options``,
        and no others.

    Returns
    -------
    tuple
    """
    return text, bold, dict(keywords)


def test_defaults_are_filled_in() -> None:
    assert draw("a", color="red") == ("a", False, {"size": 3, "color": "red"})
    assert draw(text="a", bold=True, size=1) == ("a", True, {"size": 1, "color": None})


def test_the_signature_shows_the_keywords() -> None:
    parameters = inspect.signature(draw).parameters
    assert list(parameters) == ["text", "bold", "size", "color"]
    assert (parameters["size"].default, parameters["size"].annotation) == (3, int)
    assert parameters["color"].kind is inspect.Parameter.KEYWORD_ONLY


def test_the_docstring_shows_the_keywords() -> None:
    expected = "text : str\nsize : int, default 3\n    In pixels.\ncolor : str, optional\n\nReturns"
    assert expected in (draw.__doc__ or "")


def test_an_unknown_keyword_is_a_typeerror() -> None:
    with pytest.raises(
        TypeError, match=r"^draw\(\) got an unexpected keyword argument 'kolor'\. Did you mean 'color'\?$"
    ):
        draw("a", kolor="red")  # type: ignore[call-arg]  # what is tested
