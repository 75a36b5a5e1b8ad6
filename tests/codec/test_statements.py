from __future__ import annotations

import re

import pandas as pd
import pytest

from cartoframes_lite._codec.payload import prepare, with_carto_columns
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite._codec.statements import (
    copy_in,
    copy_out,
    create_staging,
    is_gone,
    publish_into,
    publish_new,
    set_sequence,
    withdraw,
)

HOSTILE = 'a"; DROP TABLE b; --'
QUOTED = '"a""; DROP TABLE b; --"'


def test_reading_selects_the_sync_first_and_casts():
    query = copy_out('"t"', [SourceColumn("n", "int4"), SourceColumn(HOSTILE, "mood")], bytes(range(8)), 5)
    assert query == (
        f"COPY (SELECT decode('0001020304050607', 'hex'), \"n\"::int4, {QUOTED}::text FROM \"t\" LIMIT 5)"
        " TO STDOUT WITH (FORMAT binary)"
    )


def test_a_copy_in_begins_as_the_api_wants_it_and_is_short():
    assert copy_in('"s"."t"') == 'COPY "s"."t" FROM STDIN WITH (FORMAT binary)'


def test_a_staging_table_has_a_key_if_asked_for():
    columns = with_carto_columns(prepare(pd.DataFrame({"a": [1]})), 1).columns
    assert '"cartodb_id" bigserial PRIMARY KEY' in create_staging('"t"', columns, keyed=True)
    assert '"cartodb_id" bigint,' in create_staging('"t"', columns, keyed=False)


def test_a_new_table_is_renamed_before_anything_else():
    columns = prepare(pd.DataFrame({"a": ["1"]}), dtype={"a": "uuid"}).columns
    assert publish_new("public", "staging", "t", columns, cartodbfy=False).split(";\n") == [
        'ALTER TABLE "public"."staging" RENAME TO "t"',
        'ALTER TABLE "public"."t" ALTER COLUMN "a" TYPE uuid USING "a"::uuid',
    ]


def test_names_with_a_dollar_tag_do_not_end_the_block():
    columns = with_carto_columns(prepare(pd.DataFrame({"a": [1]})), 1).columns
    text = publish_new("public", "staging", "x$publish$y", columns, cartodbfy=True)
    assert re.search(r"DO (\$publish_\$).*\1", text)


@pytest.mark.parametrize("replace", [False, True])
def test_a_target_is_filled_from_a_locked_staging_table_that_goes(replace):
    columns = prepare(pd.DataFrame({"a": [1]})).columns
    statements = publish_into("public", "staging", HOSTILE, columns, replace=replace).split(";\n")
    target = f'"public".{QUOTED}'
    emptied = [f"LOCK TABLE {target} IN SHARE ROW EXCLUSIVE MODE", f"DELETE FROM {target}"] if replace else []
    assert statements == [
        'LOCK TABLE "public"."staging" IN ACCESS EXCLUSIVE MODE',
        *emptied,
        f'INSERT INTO {target} ("a") SELECT "a" FROM "public"."staging"',
        'DROP TABLE "public"."staging"',
    ]


def test_ids_move_the_sequence():
    columns = prepare(pd.DataFrame({"cartodb_id": [1]})).columns
    assert set_sequence("public", "t") in publish_into("public", "s", "t", columns, replace=False)


def test_columns_that_go_and_come():
    columns = prepare(pd.DataFrame({"a": [1]})).columns
    text = publish_into("public", "s", "t", columns, replace=True, drop=["the_geom", "b"], add=columns)
    assert 'ALTER TABLE "public"."t" DROP COLUMN "the_geom", DROP COLUMN "b", ADD COLUMN "a" bigint' in text
    assert "DROP TRIGGER IF EXISTS update_the_geom_webmercator_trigger" in text


def test_the_question_waits_for_a_transaction_at_work():
    lock, question = is_gone("public", "s").split(";\nSELECT ")
    assert 'LOCK TABLE "public"."s" IN ACCESS SHARE MODE' in lock
    assert question == 'to_regclass(E\'"public"."s"\') IS NULL AS gone'


def test_what_is_withdrawn_has_another_name():
    rename, question = withdraw("public", "s", "w").split(";\nSELECT ")
    assert 'ALTER TABLE "public"."s" RENAME TO "w"' in rename
    assert question == 'to_regclass(E\'"public"."w"\') IS NULL AS gone'
