"""Regular expressions for the input of maps match in time linear in the length of the text."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import pytest

import cartoframes_lite
import cartoframes_lite.local.maps
from cartoframes_lite.local.http.json_parsing import JSONInputError, parse_json
from cartoframes_lite.local.maps.cartocss import StyleError, parse

CLIENT = (
    "_client.maps",
    "_codec.sql_text",
    "maps.anonymous",
    "maps.instantiated",
    "maps.layergroups",
    "maps.layers",
    "maps.named",
    "maps.page",
    "maps.page.viewport",
    "maps.source",
    "maps.styling",
    "maps.tile_urls",
    "maps.token_maps",
    "maps.validation",
)
ROUTES = ("map_tiles", "maps_handler", "maps", "named_maps", "static_maps")
# A pattern that backtracks exponentially is found with some tens of repetitions, before it would take days; one that
# takes the square of the length, with thousands of characters.
REPETITIONS = range(16, 50, 2)
LENGTH = 8_000
SEARCHING = ("search", "sub", "subn", "split", "findall", "finditer")
MOST_SECONDS = 0.2  # of the processor; a pattern that goes through the text once takes a thousandth of it


def modules() -> Iterator[ModuleType]:
    """Yield the modules that parse the input of maps."""
    package = cartoframes_lite.local.maps
    names = [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    names += [f"cartoframes_lite.local.routes.{name}" for name in ROUTES]
    names += [f"cartoframes_lite.{name}" for name in CLIENT]
    yield from map(importlib.import_module, names)


@dataclass(frozen=True)
class Used:
    """A pattern, and whether it is searched at every position of a text or matched at one."""

    pattern: re.Pattern[Any]
    is_searched: bool

    def run(self, text: str) -> float:
        """Return the processor time of a search, in seconds."""
        given: Any = text if isinstance(self.pattern.pattern, str) else text.encode("latin-1", "replace")
        begun = time.process_time()
        for method in (self.pattern.search,) if self.is_searched else (self.pattern.match, self.pattern.fullmatch):
            method(given)
        return time.process_time() - begun


@cache
def patterns() -> dict[str, Used]:
    """Return all patterns of these modules: compiled ones, and those in calls of functions of `re`."""
    found: dict[str, Used] = {}
    for module in modules():
        tree = ast.parse(inspect.getsource(module))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
        functions = [(ast.unparse(call.func.value), call.func.attr, call) for call in calls]  # type: ignore[attr-defined]  # of an Attribute
        searched = {of.partition("[")[0] for of, function, _ in functions if function in SEARCHING}
        for name, value in vars(module).items():
            held = value if isinstance(value, dict) else {"": value}
            for key, one in held.items():
                if isinstance(one, re.Pattern):
                    found[f"{module.__name__}.{name}{key}"] = Used(one, name in searched)
        for of, function, call in functions:
            if of == "re" and function not in ("compile", "escape") and isinstance(call.args[0], ast.Constant):
                pattern: re.Pattern[Any] = re.compile(call.args[0].value)  # type: ignore[arg-type]  # a text
                found[f"{module.__name__}:{call.lineno}"] = Used(pattern, function in SEARCHING)
    return found


def letters(pattern: re.Pattern[Any]) -> list[str]:
    """Return characters that a pattern distinguishes."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    plain = re.sub(r"\\[dDwWsSbB]|\(\?P<\w+>", "", source)
    return sorted({*plain, *"a1 \n\"'/*"} - set("\\?+|^$"))


def example(parts: Iterable[tuple[Any, Any]], *, shortest: bool = False) -> str:
    """Return a text that parts of a parsed pattern match, more or less."""
    return "".join(_example(str(kind), value, shortest=shortest) for kind, value in parts)


def _example(kind: str, value: Any, *, shortest: bool) -> str:
    match kind:
        case "LITERAL":
            return chr(value)
        case "IN":
            return _example(str(value[0][0]), value[0][1], shortest=shortest)
        case "RANGE":
            return chr(value[0])
        case "CATEGORY":
            return {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a"}.get(str(value), "a")
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, _, inner = value
            return example(inner, shortest=shortest) * max(least, 0 if shortest else 1)
        case "SUBPATTERN":
            return example(value[3], shortest=shortest)
        case "ATOMIC_GROUP":
            return example(value, shortest=shortest)
        case "BRANCH":
            return example(value[1][0], shortest=shortest)
        case "ANY" | "NOT_LITERAL" | "NEGATE":
            return "b"
    return ""


def pieces_of(parts: Iterable[tuple[Any, Any]], before: str) -> Iterator[tuple[str, str]]:
    """Yield what each part of a parsed pattern matches, and what goes before it."""
    parts = list(parts)
    for place, (kind, value) in enumerate(parts):
        ahead = before + example(parts[:place])
        for shortest in (False, True):
            yield ahead, example([(kind, value)], shortest=shortest)
            yield before, example(parts[: place + 1], shortest=shortest)
        match str(kind):
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                yield from pieces_of(value[2], ahead)
            case "SUBPATTERN":
                yield from pieces_of(value[3], ahead)
            case "ATOMIC_GROUP":
                yield from pieces_of(value, ahead)
            case "BRANCH":
                for branch in value[1]:
                    yield from pieces_of(branch, ahead)


def attacks(pattern: re.Pattern[Any]) -> list[Callable[[int], str]]:
    """Return what makes texts in which a piece is repeated: so often, or if that is negative, to such a length."""
    alphabet, chance = letters(pattern), random.Random(7)
    made = [(before, piece, "\0") for before, piece in pieces_of(re._parser.parse(pattern.pattern, pattern.flags), "")]  # type: ignore[attr-defined]  # the parser of patterns has no public name
    made += [("", letter, "") for letter in alphabet]
    made += [tuple("".join(chance.choices(alphabet, k=chance.randint(low, 3))) for low in (0, 1, 0)) for _ in range(50)]

    def repeating(before: str, piece: str, after: str) -> Callable[[int], str]:
        return lambda times: before + piece * (times if times > 0 else -times // len(piece)) + after

    return [repeating(*parts) for parts in dict.fromkeys(made) if parts[1]]


@pytest.mark.parametrize("name", patterns())
def test_a_pattern_goes_through_a_text_once(name: str) -> None:
    used = patterns()[name]
    made = attacks(used.pattern)
    for times in (*REPETITIONS, -LENGTH):
        for make in made:
            assert used.run(make(times)) < MOST_SECONDS, (used.pattern.pattern, make(times)[:60])


@pytest.mark.parametrize(
    ("pattern", "is_searched"),
    [
        (r"(?:\s|\(|/\*.*?\*/)*(?:select|with)\b\s*\S", False),
        (r"((?:[^;{}\"'])+?)\s*(?:;|(?=\}))", False),
        (r"\[\s*(?P<value>-?\d*\.?\d+|[a-z]+)\s*\]", False),
        (r"(a|b|ab)*c", False),
        (r"/\*.*?\*/", True),
        (r"\s+;", True),
    ],
)
def test_a_pattern_that_backtracks_is_found(pattern: str, is_searched: bool) -> None:
    used = Used(re.compile(pattern, re.DOTALL), is_searched)
    made = attacks(used.pattern)
    assert any(used.run(make(times)) > MOST_SECONDS / 4 for times in (*REPETITIONS, -LENGTH) for make in made)


def test_the_patterns_are_found() -> None:
    names = patterns()
    assert "cartoframes_lite.local.maps.placeholders._MARK" in names
    assert "cartoframes_lite.local.maps.cartocss.syntax._ENDSurl(" in names
    assert len(names) > 25
    assert sum(used.is_searched for used in names.values()) > 5


def doubling(sign: str, value: str) -> str:
    """Return a sheet of 40 variables, each of which uses the next one twice."""
    variables = "".join(f"@v{number}: @v{number + 1} {sign} @v{number + 1};" for number in range(40))
    return f"{variables} @v40: {value}; #l {{ line-dasharray: @v0; line-width: @v0; }}"


SHEETS = {
    "doubling variables": doubling("+", "1"),
    "doubling texts": doubling("+", "[a]"),
    "doubling lists": doubling(",", "1"),
    "a circle": "@a: @b + @b; @b: @a + @a; #l { line-width: @a; }",
    "selectors in selectors": "#a,#a,#a,#a,#a,#a,#a,#a{" * 40 + "line-width:1;" + "}" * 40,
    "conditions in conditions": ("#l" + "[a=1]" * 90 + ",#l[b=1]{") * 12 + "line-width:1;" + "}" * 12,
    "selectors with declarations": ",".join(["#l"] * 5000) + "{" + "line-width:1;" * 5000 + "}",
    "many conditions": "#l" + "[a=1]" * 18_000 + "{line-width:1}",
    "many rules": "#l{line-width:1}" * 6000,
    "many unknown properties": "#l{" + "".join(f"a{i}:1;" for i in range(12_000)) + "}",
    "nested blocks": "#l{" * 30_000,
    "nested parentheses": "#l{line-width:" + "(" * 90_000,
    "nested calls": "#l{line-color:" + "lighten(" * 12_000,
    "a long sum": "#l{line-width:" + "+".join(["1"] * 45_000) + "}",
    "a long sum of columns": "#l{line-width:" + "+".join(["[a]"] * 22_000) + "}",
    "a long list": "#l{line-dasharray:" + ",".join(["1"] * 45_000) + "}",
    "digits": "#l[a=" + "1" * 95_000 + "x]{line-width:1}",
    "a long number": "#l{line-width:" + "1" * 95_000 + "}",
    "open comments": "#l{line-width:1}" + "/*" * 45_000,
    "open comments in a value": "#l{line-width:" + "/*" * 45_000 + ";}",
    "open comments and one end": "#l{line-width:" + "/*" * 45_000 + "*/1;}",
    "open quotes": "#l{line-width:" + '"\\' * 45_000 + "}",
    "open quotes of both kinds": "\"'\\" * 30_000,
    "open URLs": "url(" * 24_000,
    "open URLs in a value": "#l{line-width:" + "url(" * 22_000 + "}",
    "spaces": "#l{line-width:" + " " * 95_000 + "x",
    "spaces after a name": "#l{line-width" + " " * 95_000 + "x",
    "spaces in a filter": "#l[" + " " * 95_000 + "x",
    "line breaks": "\n" * 95_000 + "x",
    "comments": "/**/" * 24_000 + "x",
    "hashes": "#" * 95_000,
    "attachments": "#l" + "::a" * 30_000,
    "an attachment of slashes": "#l::" + "a/" * 45_000,
    "brackets": "#l{text-name:'" + "[" * 95_000 + "'; text-face-name: 'a';}",
    "a deep expression": "#l{line-width:'" + "min(" * 20_000 + "1'}",
}  # fmt: skip


@pytest.mark.parametrize("name", SHEETS)
def test_a_style_sheet_is_read_or_refused_in_time(name: str) -> None:
    text = SHEETS[name][:100_000]
    begun = time.process_time()
    try:
        parse(text, name="style0")
    except StyleError as refused:
        assert len(refused.message) < 200_000  # noqa: PT017 - what is read is as good as what is refused
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("name", ["doubling variables", "a circle", "selectors in selectors", "many rules"])
def test_more_work_than_there_is_text_is_refused(name: str) -> None:
    with pytest.raises(StyleError):
        parse(SHEETS[name], name="style0")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        '{"a":' * 20_000,
        "[" * 101 + "]" * 101,
        "1" * 5_000,
        "-" + "1" * 301,
        "1e400",
        "NaN",
        "[Infinity]",
        "",
    ],
    ids=lambda text: text[:12],
)
def test_json_that_python_could_not_work_with_is_refused(text: str) -> None:
    with pytest.raises(JSONInputError):
        parse_json(text)
    with pytest.raises(JSONInputError):
        parse_json(text.encode())
