"""How the columns of a frame and those of an existing table come together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cartoframes_lite._codec.existing import TableColumn
from cartoframes_lite._codec.fit import fit
from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.payload import Payload, PayloadColumn, web_mercator, without_srid
from cartoframes_lite._codec.pgtypes import holds
from cartoframes_lite._codec.statements import CARTO_COLUMNS, CARTO_SRIDS
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
    plain_geometries : bool
        Whether new columns of geometries declare no SRID, as it has to be in a CARTO table.
    """

    types: Mapping[str, str]
    has_z: Mapping[str, bool]
    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    web_mercator: bool = False
    plain_geometries: bool = False

    def fitted(self, payload: Payload) -> Payload:
        """Bring a payload to the columns and types of the table.

        Raises
        ------
        ConversionError
            If a value would not survive the conversion.
        """
        wanted = {column.name: column.wanted for column in payload.columns if column.wanted}
        payload = fit(payload, {**wanted, **self.types})
        payload = Payload(tuple(self._shaped(column) for column in payload.columns), payload.rows)
        shape = payload.column(THE_GEOM)
        if shape is None or not self.web_mercator:
            return payload
        return Payload((*payload.columns, web_mercator(shape)), payload.rows)

    def _shaped(self, column: PayloadColumn) -> PayloadColumn:
        if column.name in self.has_z and column.has_z != self.has_z[column.name]:
            column = column.with_dimension(has_z=self.has_z[column.name])
        is_new = column.name not in self.types and column.name != THE_GEOM
        return without_srid(column) if self.plain_geometries and is_new else column


def addition(payload: Payload, target: Mapping[str, TableColumn]) -> Change:
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
    for column in payload.columns:
        _require_same_crs(column, target[column.name])
    types = {name: target[name].declared for name in payload.names}
    return Change(types, _dimensions(payload, target), web_mercator=WEB_MERCATOR in target)


def replacement(payload: Payload, target: Mapping[str, TableColumn], *, cartodbfy: bool) -> Change:
    """Plan to replace: a column stays, with its indexes and grants, if it has room for every new value.

    The columns that make a CARTO table stay, too, unless the geometries have another dimension.
    """
    dimensions = _dimensions(payload, target)
    plain_geometries = cartodbfy or WEB_MERCATOR in target
    kept = {
        column.name
        for column in payload.columns
        if _has_room(column, target, dimensions)
        and not (plain_geometries and column.name != THE_GEOM and target[column.name].srid in CARTO_SRIDS)
        and not (cartodbfy and column.name == THE_GEOM and target[column.name].srid != column.srid)
    }
    gone = {name for name in target if name not in kept and name not in CARTO_COLUMNS}
    if THE_GEOM in target and THE_GEOM in payload.names and THE_GEOM not in kept:
        gone |= {THE_GEOM, WEB_MERCATOR} & set(target)
    # With both geometries declared, CARTO has no choice which column to take.
    makes_both = cartodbfy and THE_GEOM in payload.names and WEB_MERCATOR not in target
    both = {WEB_MERCATOR} if makes_both else {WEB_MERCATOR} & gone
    come = (*(name for name in payload.names if name not in kept), *both)
    return Change(
        {name: target[name].declared for name in payload.names if name in kept},
        {name: has_z for name, has_z in dimensions.items() if name in kept},
        tuple(name for name in target if name in gone),
        come,
        WEB_MERCATOR in target or makes_both,
        plain_geometries,
    )


def _require_same_crs(column: PayloadColumn, target: TableColumn) -> None:
    """Refuse geometries in another CRS than the column of the table declares."""
    if column.is_geometry and target.is_geometry and target.srid > 0 and target.srid != column.srid:
        raise ConversionError(
            f"column {column.name!r} is in EPSG:{target.srid} in the table, and the frame's is written in"
            f" EPSG:{column.srid}: reproject with to_crs({target.srid}), or write to another table"
        )


def _has_room(column: PayloadColumn, target: Mapping[str, TableColumn], dimensions: Mapping[str, bool]) -> bool:
    """Say whether a column of the table can take the new values as it is."""
    if column.name not in target:
        return False
    old = target[column.name]
    if column.is_geometry:
        if not old.is_geometry or old.srid not in (0, column.srid) or not column.has_shape(old.shape):
            return False
        return column.name not in dimensions or column.has_z == dimensions[column.name] or not column.size_bytes
    return column.name in CARTO_COLUMNS or holds(old.declared, column.final_type)


def _dimensions(payload: Payload, target: Mapping[str, TableColumn]) -> dict[str, bool]:
    """Tell of the geometry columns of the table that declare it whether they are 3-D."""
    return {
        name: target[name].dims == 3
        for name in payload.names
        if name in target and target[name].is_geometry and target[name].dims in (2, 3)
    }
