from __future__ import annotations

import re

import pandas as pd
import pytest

from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.read.source import copy_out
from cartoframes_lite.write.cartodbfy_sql import set_sequence
from cartoframes_lite.write.columns import with_carto_columns
from cartoframes_lite.write.existing_table import ExistingTable
from cartoframes_lite.write.prepare import prepare
from cartoframes_lite.write.publishing_sql import publish_into, publish_new
from cartoframes_lite.write.staged_sql import Staged
from cartoframes_lite.write.staging_sql import publication_state
from cartoframes_lite.write.statements import column_definitions, copy_in

HOSTILE = 'a"; DROP TABLE b; --'
QUOTED = '"a""; DROP TABLE b; --"'
STAGED = Staged("staging", 16400, 1)
EXISTING = ExistingTable(16401, "r", {}, (), (), (), False, False, True, 3, "signature")


def test_reading_selects_the_sync_first_and_casts():
    query = copy_out('"t"', [SourceColumn("n", "int4"), SourceColumn(HOSTILE, "mood")], bytes(range(8)), 5)
    assert query == (
        f"COPY (SELECT decode('0001020304050607', 'hex'), \"n\"::int4, {QUOTED}::text FROM \"t\" LIMIT 5)"
        " TO STDOUT WITH (FORMAT binary)"
    )


def test_the_copy_statement_of_an_upload():
    assert copy_in('"s"."t"') == 'COPY "s"."t" FROM STDIN WITH (FORMAT binary)'


def test_a_staging_table_has_a_sequence_if_asked_for():
    columns = with_carto_columns(prepare(pd.DataFrame({"a": [1]})).columns)
    assert '"cartodb_id" bigserial,' in column_definitions(columns, with_sequence=True)
    assert '"cartodb_id" bigint,' in column_definitions(columns, with_sequence=False)


def test_a_new_table_has_the_types_that_were_chosen():
    columns = prepare(pd.DataFrame({"a": ["1"]}), dtype={"a": "uuid"}).columns
    text = publish_new("public", STAGED, "t", columns, cartodbfy=False)
    assert 'ALTER TABLE "public"."staging" RENAME TO "t"' in text
    assert 'ALTER TABLE "public"."t" ALTER COLUMN "a" TYPE uuid USING "a"::uuid' in text


def test_dollar_tags_in_names_do_not_end_blocks():
    columns = with_carto_columns(prepare(pd.DataFrame({"a": [1]})).columns)
    text = publish_new("public", STAGED, "x$block$y", columns, cartodbfy=True)
    assert re.search(r";\nDO (\$block_\$)\n.*\1;\nSELECT", text, re.DOTALL)


@pytest.mark.parametrize("replace", [False, True])
def test_published_staging_tables_become_receipts(replace):
    columns = prepare(pd.DataFrame({"a": [1]})).columns
    text = publish_into("public", STAGED, HOSTILE, columns, EXISTING, replace=replace)
    target = f'"public".{QUOTED}'
    steps = [
        'LOCK TABLE "public"."staging" IN EXCLUSIVE MODE',
        f"LOCK TABLE {target} IN {'SHARE ROW' if replace else 'ROW'} EXCLUSIVE MODE",
        *([f"DELETE FROM ONLY {target}"] if replace else []),
        f'INSERT INTO {target} ("a") SELECT "a" FROM "public"."staging"',
        'ALTER TABLE "public"."staging" RENAME TO "staging_published"',
    ]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)


def test_ids_move_the_sequence():
    columns = prepare(pd.DataFrame({"cartodb_id": [1]})).columns
    assert set_sequence("public", "t") in publish_into("public", STAGED, "t", columns, EXISTING, replace=False)


def test_columns_that_go_and_come():
    columns = prepare(pd.DataFrame({"a": [1]})).columns
    arguments = {"replace": True, "drop": ["the_geom", "b"], "add": columns}
    text = publish_into("public", STAGED, "t", columns, EXISTING, **arguments)
    assert 'ALTER TABLE "public"."t" DROP COLUMN "the_geom", DROP COLUMN "b", ADD COLUMN "a" bigint' in text
    assert "DROP TRIGGER IF EXISTS update_the_geom_webmercator_trigger" in text


@pytest.mark.parametrize("withdraw", [False, True])
def test_the_state_query_locks_the_staging_table(withdraw):
    text = publication_state("public", "s", 16400, withdraw=withdraw)
    assert 'LOCK TABLE "public"."s" IN ROW SHARE MODE' in text
    assert ('DROP TABLE "public"."s"' in text) is withdraw
