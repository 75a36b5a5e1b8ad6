"""How the columns of a frame and those of an existing table come together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cartoframes_lite._codec.fit import fit
from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.payload import Payload, PayloadColumn, web_mercator
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
    has_z : mapping of str to bool
        The dimension of geometry columns that stay, if it is declared.
    web_mercator : bool
        Whether the table has a column for it.
    """

    types: Mapping[str, str]
    has_z: Mapping[str, bool]
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
        columns = [
            column.with_dimension(has_z=self.has_z[column.name])
            if column.name in self.has_z and column.has_z != self.has_z[column.name]
            else column
            for column in payload.columns
        ]
        payload = Payload(tuple(columns), payload.rows)
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
    types = {name: target[name].pgtype for name in payload.names}
    return Change(types, _dimensions(payload, target), web_mercator=WEB_MERCATOR in target)


def replacement(payload: Payload, target: Mapping[str, SourceColumn]) -> Change:
    """Plan to replace: a column stays, with its indexes and grants, if it has room for every new value.

    The columns that make a CARTO table stay, too, unless the geometries have another dimension.
    """
    dimensions = _dimensions(payload, target)
    kept = {column.name for column in payload.columns if _has_room(column, target, dimensions)}
    gone = {name for name in target if name not in kept and name not in CARTO_COLUMNS}
    if THE_GEOM in target and THE_GEOM in payload.names and THE_GEOM not in kept:
        gone |= {THE_GEOM, WEB_MERCATOR} & set(target)
    come = (*(name for name in payload.names if name not in kept), *({WEB_MERCATOR} & gone))
    return Change(
        {name: target[name].pgtype for name in payload.names if name in kept},
        {name: has_z for name, has_z in dimensions.items() if name in kept},
        tuple(name for name in target if name in gone),
        come,
        WEB_MERCATOR in target,
    )


def _has_room(column: PayloadColumn, target: Mapping[str, SourceColumn], dimensions: Mapping[str, bool]) -> bool:
    """Say whether a column of the table can take the new values as it is."""
    if column.name not in target:
        return False
    if column.name in dimensions and column.is_geometry:
        return column.has_z == dimensions[column.name] or not column.size_bytes
    return column.name in CARTO_COLUMNS or holds(target[column.name].pgtype, column.final_type)


def _dimensions(payload: Payload, target: Mapping[str, SourceColumn]) -> dict[str, bool]:
    """Tell of the geometry columns of the table that declare it whether they are 3-D."""
    return {
        name: target[name].dims == 3
        for name in payload.names
        if name in target and target[name].rule.kind is Kind.GEOMETRY and target[name].dims in (2, 3)
    }
