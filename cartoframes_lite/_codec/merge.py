"""How the columns of a frame and those of an existing table come together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cartoframes_lite._codec.fit import fit
from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.payload import Payload, web_mercator
from cartoframes_lite._codec.pgtypes import Kind, SourceColumn, holds
from cartoframes_lite._codec.statements import CARTO_COLUMNS
from cartoframes_lite.errors import ConversionError


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a table when a payload comes into it.

    Attributes
    ----------
    types : mapping of str to str
        The types of the columns that stay.
    drop, add : tuple of str
        Columns that go and come; a column in both changes its type.
    web_mercator : bool
        Whether the table has a column for it.
    """

    types: Mapping[str, str]
    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    web_mercator: bool = False

    def fitted(self, payload: Payload) -> Payload:
        """Bring a payload to the columns and types of the table.

        Raises
        ------
        ConversionError
            If a value would not survive the conversion.
        """
        wanted = {column.name: column.wanted for column in payload.columns if column.wanted}
        payload = fit(payload, {**wanted, **self.types})
        shape = payload.column(THE_GEOM)
        if shape is None or not self.web_mercator:
            return payload
        return Payload((*payload.columns, web_mercator(shape)), payload.rows)


def addition(payload: Payload, target: Mapping[str, SourceColumn]) -> Change:
    """Plan to append: the table stays as it is.

    Raises
    ------
    ConversionError
        If the frame has columns that the table has not.
    """
    unknown = [name for name in payload.names if name not in target]
    if unknown:
        raise ConversionError(
            f"the frame has the columns {unknown}, the table has not; it has {list(target)}: "
            'drop or rename them, or use if_exists="replace"'
        )
    _check_dimensions(payload, target)
    types = {name: target[name].pgtype for name in payload.names}
    return Change(types, web_mercator=WEB_MERCATOR in target)


def replacement(payload: Payload, target: Mapping[str, SourceColumn]) -> Change:
    """Plan to replace: a column stays, with its indexes and grants, if it has room for every new value.

    The columns that make a CARTO table always stay.
    """
    _check_dimensions(payload, target)
    kept = [
        column.name
        for column in payload.columns
        if column.name in target
        and (column.name in CARTO_COLUMNS or holds(target[column.name].pgtype, column.final_type))
    ]
    drop = tuple(name for name in target if name not in kept and name not in CARTO_COLUMNS)
    add = tuple(name for name in payload.names if name not in kept)
    return Change({name: target[name].pgtype for name in kept}, drop, add, WEB_MERCATOR in target)


def _check_dimensions(payload: Payload, target: Mapping[str, SourceColumn]) -> None:
    """Refuse Z for a column of 2-D geometries, and the other way round."""
    for column in payload.columns:
        there = target.get(column.name)
        if not column.is_geometry or there is None or there.rule.kind is not Kind.GEOMETRY or there.dims == 4:
            continue
        dims = 3 if "GeometryZ" in column.sql_type else 2
        if dims != there.dims:
            raise ConversionError(
                f"geometry column {column.name!r} is {dims}-D in the frame and {there.dims}-D in the table: "
                f"use shapely.force_{there.dims}d, or delete the table first"
            )
