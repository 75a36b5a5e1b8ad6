"""Texts that make a regular expression backtrack, derived from its parts, and the time to match them."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _parser  # type: ignore[attr-defined]  # the only way to see what an expression is made of
from types import FrameType, ModuleType
from typing import Any

LENGTH = 40_000  # characters: what is quadratic takes a second with them, what is linear some milliseconds
_CPU_S = 0.25
_MOST_PUMPED, _MOST_BEGINNINGS = 30, 2
_END = "\n\x01"  # what few expressions end with
_METHODS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
_CLASSES = {
    "space": " \t\n",
    "digit": "07",
    "word": "a_0",
    "not_space": "a0",
    "not_digit": "a ",
    "not_word": "-\u00e9 ",
}


@dataclass(frozen=True)
class Used:
    """A regular expression, its location, and how it is used."""

    where: str
    pattern: re.Pattern[Any]
    searching: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.pattern.pattern!r}"


def expressions(package: ModuleType) -> Iterator[Used]:
    """Find the expressions of all modules of a package: compiled ones, and those given to a function of re."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
        yield from _compiled(module, tree)
        yield from _inline(module, tree)


def _compiled(module: ModuleType, tree: ast.Module) -> Iterator[Used]:
    calls = [
        node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    for name, value in vars(module).items():
        if isinstance(value, re.Pattern):
            used = {call.attr for call in calls if isinstance(call.value, ast.Name) and call.value.id == name}
            # What is handed to a function, or stands in a table, is matched from where the reader is.
            searching = bool(used & set(_METHODS) - {"match", "fullmatch"})
            yield Used(f"{module.__name__}.{name}", value, searching)


def _inline(module: ModuleType, tree: ast.Module) -> Iterator[Used]:
    named = {node.value for node in tree.body if isinstance(node, ast.Assign)}  # found by `_compiled`
    # In tables of the module: matched from where the reader is.
    tabled = {node for statement in tree.body if isinstance(statement, ast.Assign) for node in ast.walk(statement)}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=method), args=[expression, *_]) if (
                method in (*_METHODS, "compile") and node not in named
            ):
                text = _text(expression, module)
                if text is not None:
                    pattern = re.compile(text, _flags(node))
                    searching = method not in ("match", "fullmatch") and node not in tabled
                    yield Used(f"{module.__name__}:{node.lineno}", pattern, searching)


def _text(expression: ast.expr, module: ModuleType) -> Any:
    """Return the text of a constant expression; None for one that is composed at run time."""
    try:
        return eval(compile(ast.Expression(expression), module.__name__, "eval"), vars(module))
    except NameError:
        return None


def _flags(call: ast.Call) -> int:
    """Return the flags that a call names, as ``re.DOTALL``."""
    flags = 0
    for node in ast.walk(call):
        if isinstance(node, ast.Attribute) and isinstance(getattr(re, node.attr, None), re.RegexFlag):
            flags |= getattr(re, node.attr)
    return flags


def attacks(pattern: re.Pattern[Any], length: int = LENGTH) -> Iterator[Any]:
    """Make long texts: each part of an expression, and each two of them, many times, with and without a beginning."""
    tree = _parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    parts = sorted({text for text in _samples(tree) if text})
    beginnings = [text for text in dict.fromkeys(_beginnings(tree)) if text]
    pairs = (first + second for first in parts for second in parts if first != second)
    pumped = list(dict.fromkeys((*beginnings, *parts, *pairs)))[:_MOST_PUMPED]
    for beginning in ("", *beginnings[:_MOST_BEGINNINGS]):
        for pump in pumped:
            text = beginning + pump * (length // len(pump)) + _END
            yield text if isinstance(pattern.pattern, str) else text.encode()


def _samples(tree: Any) -> Iterator[str]:
    """Yield texts that parts of an expression match."""
    for operation, argument in tree:
        name = str(operation)
        if name == "LITERAL":
            yield chr(argument)
        elif name == "NOT_LITERAL":
            yield "a" if chr(argument) != "a" else "b"
        elif name == "ANY":
            yield "a"
        elif name == "IN":
            yield from _members(argument)
        else:
            for inner in _inner(name, argument):
                yield from _samples(inner)
                yield _one(inner)


def _members(argument: Any) -> Iterator[str]:
    """Yield some characters of a class, or outside of a negated one."""
    negated = str(argument[0][0]) == "NEGATE"
    inside: list[str] = []
    for operation, value in argument:
        name = str(operation)
        if name == "LITERAL":
            inside.append(chr(value))
        elif name == "RANGE":
            inside += [chr(value[0]), chr(value[1])]
        elif name == "CATEGORY":
            inside += _CLASSES.get(str(value).removeprefix("CATEGORY_").lower(), "")
    if negated:
        yield from [character for character in "a0 -<" if character not in inside][:2]
        yield from inside[:2]
    else:
        yield from inside[:3]


def _inner(name: str, argument: Any) -> list[Any]:
    """Return the expressions within a part."""
    match name:
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return [argument[2]]
        case "SUBPATTERN":
            return [argument[3]]
        case "BRANCH":
            return list(argument[1])
        case "ASSERT" | "ASSERT_NOT":
            return [argument[1]]
        case "ATOMIC_GROUP":
            return [argument]
    return []


def _one(tree: Any) -> str:
    """Return a text that an expression matches, with one of each repetition."""
    text = ""
    for operation, argument in tree:
        name = str(operation)
        if name in ("ASSERT", "ASSERT_NOT", "AT"):
            continue
        inner = _inner(name, argument)
        text += _one(inner[0]) if inner else next(_samples([(operation, argument)]), "")
    return text


def _beginnings(tree: Any) -> Iterator[str]:
    """Yield texts that the first parts of an expression match: one, two and so on."""
    items = list(tree)
    for end in range(1, min(len(items), 5) + 1):
        yield _one(items[:end])


def is_slow(used: Used, text: Any) -> bool:
    """Return whether an expression takes too long. Must be called in the main thread."""

    is_late = is_over = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_late
        is_late = True
        if not is_over:  # the signal may be handled after the match only
            raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _CPU_S)
    try:
        if used.searching:
            for _ in used.pattern.finditer(text):
                pass
        else:
            used.pattern.match(text)
            used.pattern.fullmatch(text)
        is_over = True
    except TimeoutError:
        pass
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return is_late
