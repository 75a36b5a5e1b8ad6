"""Keywords that several functions share: declared in one TypedDict, shown in each signature and docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast, get_type_hints

from cartoframes_lite.tracebacks import short_traceback

P = ParamSpec("P")
R = TypeVar("R")

_ENTRY = re.compile(r"^\*\*keywords\b.*(?:\n +.*)*", re.MULTILINE)


def shared_keywords(*declarations: type, defaults: Mapping[str, object]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate functions with ``**keywords: Unpack[...]`` as if each of them spelled the keywords out.

    Of a class, only the docstring is changed: its ``__init__`` is decorated itself.

    The function always receives all keywords. Its signature shows them with their types and defaults, and its docstring
    with their descriptions, in the place of the parameter ``**keywords``.

    Parameters
    ----------
    *declarations : TypedDict
        Their docstrings end with a section Parameters.
    defaults : mapping of str to object
        Default of each keyword.
    """
    types = {name: hint for declared in declarations for name, hint in get_type_hints(declared).items()}
    shown = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=types[name])
        for name, default in defaults.items()
    ]
    described = "\n".join(map(_parameters, declarations))

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        documentation = _ENTRY.sub(lambda _: described, inspect.cleandoc(function.__doc__ or ""))
        if inspect.isclass(function):
            function.__doc__ = documentation
            return cast("Callable[P, R]", function)
        signature = inspect.signature(function)
        own = [item for item in signature.parameters.values() if item.kind is not inspect.Parameter.VAR_KEYWORD]
        accepted = {parameter.name for parameter in (*own, *shown)}

        @wraps(function)
        @short_traceback
        def call(*args: P.args, **keywords: P.kwargs) -> R:
            for name in keywords:
                if name not in accepted:
                    similar = get_close_matches(name, accepted, n=1)
                    hint = f". Did you mean {similar[0]!r}?" if similar else ""
                    raise TypeError(f"{function.__qualname__}() got an unexpected keyword argument {name!r}{hint}")
            return cast("Callable[..., R]", function)(*args, **{**defaults, **keywords})

        cast(Any, call).__signature__ = signature.replace(parameters=[*own, *shown])
        call.__doc__ = documentation or None  # IPython completes no keywords if it is empty
        return call

    return decorate


def _parameters(declared: type) -> str:
    """Return the entries of the section Parameters of a docstring."""
    return inspect.cleandoc(declared.__doc__ or "").partition("Parameters\n----------\n")[2]
