"""The SQL that reads, stages and publishes: composed of quoted identifiers, pure text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite._codec.payload import CARTODB_ID, PayloadColumn
from cartoframes_lite._codec.pgtypes import SourceColumn

CARTO_COLUMNS = (CARTODB_ID, THE_GEOM, WEB_MERCATOR)


def copy_out(source: str, columns: Iterable[SourceColumn], sync: bytes, limit: int | None) -> str:
    """Compose the COPY that reads columns of ``source`` (a table, or a query in parentheses with an alias)."""
    # Not '\x...': a backslash would be one or not, as standard_conforming_strings says.
    mark = f"decode('{sync.hex()}', 'hex')"
    selected = [mark, *(column.rule.select.format(quote(column.name)) for column in columns)]
    query = f"SELECT {', '.join(selected)} FROM {source}"
    if limit is not None:
        query += f" LIMIT {limit:d}"
    return f"COPY ({query}) TO STDOUT WITH (FORMAT binary)"


def copy_in(staging: str) -> str:
    """Compose the COPY into a staging table; without a list of columns, for it has to fit into a URL."""
    return f"COPY {staging} FROM STDIN WITH (FORMAT binary)"


def create_staging(staging: str, columns: Sequence[PayloadColumn], *, keyed: bool) -> str:
    """Compose the staging table; ``keyed`` gives it the key of a CARTO table."""
    definitions = [
        f"{quote(column.name)} bigserial PRIMARY KEY"
        if keyed and column.name == CARTODB_ID
        else f"{quote(column.name)} {column.staged_type}"
        for column in columns
    ]
    return f"CREATE TABLE IF NOT EXISTS {staging} ({', '.join(definitions)})"


@dataclass(frozen=True, slots=True)
class Parts:
    """The staging tables of a write in parts, in order; their names begin with that of the whole.

    Attributes
    ----------
    suffixes : tuple of str
    rows : int
        How many rows they have together.
    """

    suffixes: tuple[str, ...]
    rows: int


def _gather(
    schema: str, staging: str, parts: Parts, target: str, columns: Sequence[PayloadColumn], values: Sequence[str]
) -> str:
    """Compose the loop that moves the rows of all parts into a table; short, for batch jobs have 16 KB.

    ``$1`` in the values is the number of rows before those of the part.
    """
    names = ", ".join(quote(column.name) for column in columns)
    insert = f"INSERT INTO {target} ({names}) SELECT {', '.join(values)} FROM {quote(schema)}."
    drop = f"DROP TABLE {quote(schema)}."
    steps = (
        "DECLARE suffix text; part text; moved bigint; before bigint := 0; BEGIN"
        f" FOREACH suffix IN ARRAY string_to_array({literal(','.join(parts.suffixes))}, ',') LOOP"
        f" part := quote_ident({literal(staging)} || suffix);"
        f" EXECUTE {literal(insert)} || part USING before;"
        " GET DIAGNOSTICS moved = ROW_COUNT; before := before + moved;"
        f" EXECUTE {literal(drop)} || part;"
        " END LOOP;"
        f" IF before <> {parts.rows:d} THEN RAISE EXCEPTION 'the parts have % rows, not {parts.rows:d}', before;"
        " END IF; END"
    )
    return f"DO {_dollar_quoted(steps)}"


def publish_new(
    schema: str,
    staging: str,
    table: str,
    columns: Sequence[PayloadColumn],
    *,
    cartodbfy: bool,
    parts: Parts | None = None,
    numbered: bool = False,
) -> str:
    """Compose the transaction that makes a staging table the new table.

    The statements of one request are one transaction. The rows of ``parts`` come into the table before; ``numbered``
    means that the ids of each part begin at 1, and go on behind those of the part before.
    """
    target, place = qualify(schema, table), qualify(schema, staging)
    statements = []
    if parts is not None:
        values = [
            f"{quote(column.name)} + $1" if numbered and column.name == CARTODB_ID else quote(column.name)
            for column in columns
        ]
        statements.append(f"LOCK TABLE {place} IN ACCESS EXCLUSIVE MODE")
        statements.append(_gather(schema, staging, parts, place, columns, values))
    statements.append(f"ALTER TABLE {place} RENAME TO {quote(table)}")
    changes = [
        f"ALTER COLUMN {quote(column.name)} TYPE {column.final_type} USING {quote(column.name)}::{column.final_type}"
        for column in columns
        if column.final_type != column.staged_type
    ]
    if changes:
        statements.append(f"ALTER TABLE {target} {', '.join(changes)}")
    if cartodbfy:
        statements += [
            _rename_belongings(schema, staging, table),
            set_sequence(schema, table),
            f"SELECT CDB_CartodbfyTable({literal(schema)}, {literal(target)}::regclass)",
        ]
    return ";\n".join(statements)


def _rename_belongings(schema: str, staging: str, table: str) -> str:
    """Name key and sequence after the table, unless something has the name, as after a rename."""
    steps = "".join(
        f"IF to_regclass({literal(qualify(schema, new))}) IS NULL THEN"
        f" ALTER {kind} {qualify(schema, old)} RENAME TO {quote(new)}; END IF; "
        for kind, old, new in (
            ("INDEX", f"{staging}_pkey", _belonging(table, "_pkey")),
            ("SEQUENCE", f"{staging}_{CARTODB_ID}_seq", _belonging(table, f"_{CARTODB_ID}_seq")),
        )
    )
    return f"DO {_dollar_quoted(f'BEGIN {steps}END')}"


def _dollar_quoted(text: str) -> str:
    """Quote a block of code; names can contain a dollar tag, too."""
    tag = "$publish$"
    while tag in text:
        tag = f"{tag[:-1]}_$"
    return f"{tag}{text}{tag}"


def _belonging(table: str, suffix: str) -> str:
    return table[: 63 - len(suffix)] + suffix


def set_sequence(schema: str, table: str) -> str:
    """Let the sequence of the ids go on behind the largest; not every key may do so."""
    target = qualify(schema, table)
    sequence = f"pg_get_serial_sequence({literal(target)}, {literal(CARTODB_ID)})"
    return (
        f"SELECT CASE WHEN has_sequence_privilege({sequence}, 'UPDATE') THEN"
        f" setval({sequence}, greatest((SELECT max({quote(CARTODB_ID)}) FROM {target}), 1)) END"
    )


def publish_into(
    schema: str,
    staging: str,
    table: str,
    columns: Sequence[PayloadColumn],
    *,
    replace: bool,
    drop: Sequence[str] = (),
    add: Sequence[PayloadColumn] = (),
    cartodbfy: bool = False,
    parts: Parts | None = None,
) -> str:
    """Compose the transaction that adds the rows of a staging table to the target, or replaces its rows by them.

    With ``parts`` it is their rows.

    DELETE, not TRUNCATE: a reader whose snapshot is older goes on seeing the old rows. The lock lets readers
    through and makes writers wait for each other.
    """
    target, source = qualify(schema, table), qualify(schema, staging)
    # A second try, sent while the first is still at work, waits here and then finds the staging table gone.
    statements = [f"LOCK TABLE {source} IN ACCESS EXCLUSIVE MODE"]
    if replace:
        statements += [f"LOCK TABLE {target} IN SHARE ROW EXCLUSIVE MODE", f"DELETE FROM {target}"]
    if THE_GEOM in drop:  # made again by CDB_CartodbfyTable
        statements.append(f"DROP TRIGGER IF EXISTS update_the_geom_webmercator_trigger ON {target}")
    changes = [f"DROP COLUMN {quote(name)}" for name in drop]
    changes += [f"ADD COLUMN {quote(column.name)} {column.final_type}" for column in add]
    if changes:
        statements.append(f"ALTER TABLE {target} {', '.join(changes)}")
    values = [_cast(column) for column in columns]
    if parts is not None:
        statements.append(_gather(schema, staging, parts, target, columns, values))
    else:
        names = ", ".join(quote(column.name) for column in columns)
        statements.append(f"INSERT INTO {target} ({names}) SELECT {', '.join(values)} FROM {source}")
    statements.append(f"DROP TABLE {source}")
    if any(column.name == CARTODB_ID for column in columns):
        statements.append(set_sequence(schema, table))
    if cartodbfy:
        statements.append(f"SELECT CDB_CartodbfyTable({literal(schema)}, {literal(target)}::regclass)")
    return ";\n".join(statements)


def is_gone(schema: str, staging: str) -> str:
    """Compose the question whether a staging table has been published.

    The lock waits for a transaction that holds the table; it fails if there is none any more.
    """
    place = qualify(schema, staging)
    wait = f"BEGIN LOCK TABLE {place} IN ACCESS SHARE MODE; EXCEPTION WHEN undefined_table THEN NULL; END"
    return f"DO {_dollar_quoted(wait)};\nSELECT to_regclass({literal(place)}) IS NULL AS gone"


def withdraw(schema: str, staging: str, withdrawn: str) -> str:
    """Compose what makes sure that a staging table is not published later on, and the question whether it has been.

    A new name: a transaction that is still on its way does not find the table any more. The same request a second time
    gets the same answer.
    """
    rename = f"ALTER TABLE {qualify(schema, staging)} RENAME TO {quote(withdrawn)}"
    renamed = f"BEGIN {rename}; EXCEPTION WHEN undefined_table THEN NULL; END"
    return f"DO {_dollar_quoted(renamed)};\nSELECT to_regclass({literal(qualify(schema, withdrawn))}) IS NULL AS gone"


def _cast(column: PayloadColumn) -> str:
    """Select a staged column in the type of the target."""
    name = quote(column.name)
    return name if column.is_geometry or column.final_type == column.staged_type else f"{name}::{column.final_type}"
