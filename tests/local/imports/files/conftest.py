"""Fixtures for imports: a temporary directory, and a transaction of the owner that is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cartoframes_lite.local.imports.files import (
    GuessingOptions,
    ImportJobError,
    Staged,
    StagedTable,
    publish,
    stage_file,
)
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.state import State


@dataclass
class Importer:
    """Imports files in one transaction and reads the resulting tables."""

    connection: psycopg.Connection[Any]
    directory: Path
    temporary: Path
    plan: Plan = field(default_factory=Plan)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def stage(self, path: Path, *, plan: Plan | None = None, **options: bool) -> list[StagedTable]:
        return self.stage_all(path, plan=plan, **options).tables

    def stage_all(self, path: Path, *, plan: Plan | None = None, **options: bool) -> Staged:
        staged = stage_file(
            self.connection,
            path,
            file_name=path.name,
            options=GuessingOptions(**options),
            plan=plan or self.plan,
            directory=self.temporary,
        )
        assert not list(self.temporary.iterdir())
        return staged

    def run(self, path: Path, *, strategy: str | None = None, plan: Plan | None = None, **options: bool) -> list[str]:
        staged = self.stage(path, plan=plan, **options)
        return publish(self.connection, staged, collision_strategy=strategy, plan=plan or self.plan)

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        listed = sql.SQL(", ").join(sql.SQL(column) for column in columns)
        query = sql.SQL("SELECT {} FROM {} ORDER BY cartodb_id").format(listed, sql.Identifier("public", table))
        return self.connection.execute(query).fetchall()

    def points(self, table: str) -> list[str | None]:
        return [row[0] for row in self.rows(table, "ST_AsEWKT(the_geom)")]

    def columns(self, table: str) -> dict[str, str]:
        rows = self.connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (sql.Identifier("public", table).as_string(self.connection),),
        ).fetchall()
        return dict(rows)

    def own_columns(self, table: str) -> dict[str, str]:
        carto = ("cartodb_id", "the_geom", "the_geom_webmercator")
        return {name: kind for name, kind in self.columns(table).items() if name not in carto}

    def code(self, path: Path, **arguments: Any) -> int:
        with pytest.raises(ImportJobError) as refused:
            self.run(path, **arguments)
        assert str(self.temporary) not in refused.value.detail
        assert str(path.parent) not in refused.value.detail
        assert not list(self.temporary.iterdir())
        return refused.value.code


@pytest.fixture
def importer(state: State, tmp_path: Path) -> Iterator[Importer]:
    """Import files from a directory of the test."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "files").mkdir()
    with psycopg.connect(state.conninfo(state.owner_role)) as connection:
        connection.execute("SELECT 1")  # begins the transaction of all imports of the test
        yield Importer(connection, tmp_path / "files", tmp_path / "temporary")
        connection.rollback()


Make = Callable[[Importer], Path]
