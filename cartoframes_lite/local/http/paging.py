"""Pages and sort orders of lists in CARTO's platform APIs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from cartoframes_lite.local.http.platform import CauseError, PlatformError, PlatformRequest

_DIRECTIONS = ("asc", "desc")
_MAX_BIGINT = 2**63 - 1

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page:
    """A requested page of a list.

    Attributes
    ----------
    number : int
        Counted from 1.
    per_page : int
        Items of a page.
    """

    number: int
    per_page: int

    @property
    def offset(self) -> int:
        """Number of items on earlier pages, at most that of a bigint of PostgreSQL."""
        return min((self.number - 1) * self.per_page, _MAX_BIGINT)

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return the items of the page; none if it is after the last one."""
        return items[self.offset : self.offset + self.per_page]


def invalid_parameter(parameter: str, valid: Sequence[str] = (), *, name: str = "errors") -> PlatformError:
    """Return CARTO's error for a parameter, with the valid values if given.

    Parameters
    ----------
    parameter : str
    valid : sequence of str
    name : str
        Member of the response that contains the message: "errors", with a member ``errors_cause``, or "error".
    """
    values = f" Valid values are one of {symbols(valid)}" if valid else ""
    return _parameter_error(f"Wrong '{parameter}' parameter value.{values}", name)


def invalid_combination(parameter: str, valid: Sequence[str], *, name: str = "errors") -> PlatformError:
    """Return CARTO's error for a list of values with an invalid one; as `invalid_parameter`."""
    return _parameter_error(
        f"Wrong '{parameter}' parameter combination. Valid values to combine: {symbols(valid)}", name
    )


def symbols(names: Sequence[str]) -> str:
    """Return names in the notation of Ruby's symbols, as in CARTO's messages: ``[:asc, :desc]``."""
    return f"[{', '.join(f':{name}' for name in names)}]"


def read_page(call: PlatformRequest, *, per_page: int = 20, name: str = "errors") -> Page:
    """Parse the parameters ``page`` and ``per_page``.

    Parameters
    ----------
    call : PlatformRequest
    per_page : int
        Default of ``per_page``.
    name : str
        As in `invalid_parameter`.

    Raises
    ------
    PlatformError
        400 if one is not positive.
    """
    return Page(_positive(call, "page", 1, name), _positive(call, "per_page", per_page, name))


def read_order(
    call: PlatformRequest,
    valid: Sequence[str],
    *,
    default: str = "updated_at",
    default_direction: str = "desc",
    combinations: Sequence[str] = (),
    name: str = "errors",
) -> tuple[tuple[str, str], ...]:
    """Parse the parameters ``order`` and ``order_direction``.

    Parameters
    ----------
    call : PlatformRequest
    valid : sequence of str
        Valid values of ``order``.
    default, default_direction : str
    combinations : sequence of str
        Values that may be combined with commas; none means a single one only.
    name : str
        As in `invalid_parameter`.

    Returns
    -------
    tuple of (str, str)
        Pairs of value and direction, "asc" or "desc". Missing directions are the first one.

    Raises
    ------
    PlatformError
        400 for an unknown value.
    """
    orders = _choices(call, "order", default, valid, combinations, name)
    directions = _choices(call, "order_direction", default_direction, _DIRECTIONS, _DIRECTIONS, name)
    directions += directions[:1] * len(orders)
    return tuple(zip(orders, directions, strict=False))


def linked_page(call: PlatformRequest, page: Page, items: Sequence[Any], total: int) -> dict[str, Any]:
    """Return the response body of a page, with links to other pages.

    Parameters
    ----------
    call : PlatformRequest
        Its parameters are repeated in the links.
    page : Page
    items : sequence
        The items of this page.
    total : int
        Number of items of all pages.
    """
    last = -(-total // page.per_page)
    path = call.request.scope["path"].rstrip("/")

    def link(number: int) -> dict[str, str]:
        parameters = {**call.parameters, "format": "json", "page": number, "per_page": page.per_page}
        return {"href": f"{call.account_url}{path}?{urlencode(sorted(parameters.items()))}"}

    links = {"first": link(1), "last": link(last)}
    if page.number > 1:
        links["prev"] = link(page.number - 1)
    if page.number < last:
        links["next"] = link(page.number + 1)
    return {"total": total, "count": len(items), "result": list(items), "_links": links}


def _parameter_error(message: str, name: str) -> PlatformError:
    """Return the error for a parameter, in the format for the given name of its message."""
    return CauseError(400, message) if name == "errors" else PlatformError(400, message, name=name)


def _positive(call: PlatformRequest, parameter: str, default: int, name: str) -> int:
    """Return a positive integer; as in CARTO, an empty one is the default and text after the digits is ignored."""
    given = call.parameters.get(parameter)
    if given is None or (isinstance(given, str) and not given.strip()):
        return default
    digits = re.match(r"\s*\+?([0-9]{1,18})", str(given))
    number = int(digits[1]) if digits else 0
    if number < 1:
        raise invalid_parameter(parameter, name=name)
    return number


def _choices(
    call: PlatformRequest, parameter: str, default: str, valid: Sequence[str], combinations: Sequence[str], name: str
) -> list[str]:
    """Return the values of a parameter that takes one value, or several with commas."""
    given = str(call.parameters.get(parameter) or default)
    values = given.split(",")
    if (not combinations or len(values) == 1) and given not in valid:
        raise invalid_parameter(parameter, valid, name=name)
    if len(values) > 1 and not set(values) <= set(combinations):
        raise invalid_combination(parameter, combinations, name=name)
    return values
