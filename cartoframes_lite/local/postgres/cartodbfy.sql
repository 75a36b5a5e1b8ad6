-- CDB_CartodbfyTable: add the columns, indexes and triggers to a table that CARTO's maps and clients expect.
--
-- It behaves as CARTO's function does, even where data is lost, so that a table gets the same result here and there.
-- format() is called with its schema, because users may have created an overload that takes precedence.

-- Drop functions of earlier versions of this file.
DROP FUNCTION IF EXISTS cartodb._cdb_has_final_shape(regclass), cartodb._cdb_geometry_column(regclass),
    cartodb._cdb_geometry_expression(regclass, name), cartodb._cdb_rewrite_table(regclass),
    cartodb._cdb_create_indexes_and_triggers(regclass);
DO $$
BEGIN
    IF 'text'::regtype = (SELECT prorettype FROM pg_proc
                          WHERE oid = to_regprocedure('cartodb._cdb_has_usable_primary_id(regclass)')) THEN
        DROP FUNCTION cartodb._cdb_has_usable_primary_id(regclass);
    END IF;
END
$$;

-- Run a statement. The message of an error contains the step and the statement.
CREATE OR REPLACE FUNCTION cartodb._cdb_run(step text, statement text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
EXCEPTION WHEN others THEN
    RAISE EXCEPTION 'CDB(%:%:%): %', step, SQLSTATE, SQLERRM, statement;
END
$$;

-- Return the name stem || suffix, with a number appended if it is taken.
CREATE OR REPLACE FUNCTION cartodb._cdb_free_name(stem text, suffix text, taken name[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    number integer := 0;
    first text;
    free text;
BEGIN
    WHILE octet_length(stem || suffix) > 59 LOOP -- leaves room for four digits
        stem := left(stem, -1);
    END LOOP;
    first := stem || suffix;
    free := first;
    WHILE free = ANY(taken) LOOP
        free := first || number::text;
        number := number + 1;
    END LOOP;
    RETURN free;
END
$$;

-- Return whether the table has a usable key: the column cartodb_id, or another integer primary key, which is renamed.
-- Raises an error if the values of cartodb_id cannot be a primary key.
CREATE OR REPLACE FUNCTION cartodb._cdb_has_usable_primary_id(reloid regclass) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT text := '_CDB_Has_Usable_Primary_ID';
    attempt text;
    is_key boolean;
    other_key name;
BEGIN
    SELECT a.attnotnull AND EXISTS (SELECT FROM pg_index i
                                    WHERE i.indrelid = reloid::oid AND a.attnum = ANY(i.indkey) AND i.indisunique)
    INTO is_key FROM pg_attribute a
    WHERE a.attrelid = reloid::oid AND a.attname = 'cartodb_id' AND NOT a.attisdropped;
    IF FOUND AND is_key THEN
        RETURN true;
    ELSIF NOT FOUND THEN
        SELECT a.attname INTO other_key
        FROM pg_attribute a JOIN pg_index i ON i.indrelid = a.attrelid AND a.attnum = ANY(i.indkey)
        WHERE a.attrelid = reloid::oid AND i.indisprimary
          AND a.atttypid IN ('int2'::regtype::oid, 'int4'::regtype::oid, 'int8'::regtype::oid)
        ORDER BY a.attnum LIMIT 1;
        IF FOUND THEN
            PERFORM cartodb._cdb_run(
                step, pg_catalog.format('ALTER TABLE %s RENAME COLUMN %I TO cartodb_id', reloid, other_key)
            );
        END IF;
        RETURN FOUND;
    END IF;
    attempt := pg_catalog.format(
        'ALTER TABLE %s ADD CONSTRAINT cartodb_id_pk PRIMARY KEY (cartodb_id),'
        ' ADD CONSTRAINT cartodb_id_integer CHECK (cartodb_id::integer >= 0)', reloid
    );
    BEGIN
        EXECUTE attempt;
    EXCEPTION
        WHEN unique_violation OR not_null_violation OR invalid_text_representation THEN
            RAISE EXCEPTION 'CDB(%: Error: invalid cartodb_id, cartodb_id): %', step, attempt;
        WHEN others THEN
            RAISE EXCEPTION 'CDB(%: %): %', step, SQLERRM, attempt;
    END;
    EXECUTE pg_catalog.format(
        'ALTER TABLE %s DROP CONSTRAINT cartodb_id_pk, DROP CONSTRAINT cartodb_id_integer', reloid
    );
    RETURN true;
END
$$;

-- Find the columns that the geometry columns are made from: the last geometry column with each SRID in its type, and a
-- text column with one of the two names that can be cast to geometry. Any other column with one of the names is
-- renamed. postgis_typmod_srid() returns 0 for the type modifiers of most other types; columns with other values are
-- ignored. The query joins and sorts like CARTO's. Which of several columns is the last depends on the sort, which is
-- not stable.
CREATE OR REPLACE FUNCTION cartodb._cdb_find_geometries(
    reloid regclass, OUT lonlat name, OUT mercator name, OUT as_text name, OUT text_has_srid boolean
)
LANGUAGE plpgsql AS $$
DECLARE
    candidate record;
    text_srid integer;
    other_name text;
BEGIN
    text_has_srid := true;
    FOR candidate IN
        SELECT a.attname AS name, t.typname AS type, postgis_typmod_srid(a.atttypmod) AS srid,
            wanted.name AS wanted_name, wanted.srid AS wanted_srid
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid,
            (VALUES ('the_geom', 4326), ('the_geom_webmercator', 3857)) AS wanted (name, srid)
        WHERE c.oid = reloid::oid AND a.attnum > 0 AND NOT a.attisdropped
          AND postgis_typmod_srid(a.atttypmod) IN (0, 3857, 4326)
        ORDER BY t.oid
    LOOP
        IF candidate.type = 'geometry' THEN
            IF candidate.srid = 0 THEN
                text_has_srid := true;
            ELSIF candidate.srid <> candidate.wanted_srid THEN
                NULL; -- the row of the other SRID handles it
            ELSIF candidate.srid = 4326 THEN
                lonlat := candidate.name;
            ELSE
                mercator := candidate.name;
            END IF;
            CONTINUE;
        ELSIF candidate.name <> candidate.wanted_name THEN
            CONTINUE;
        ELSIF candidate.type IN ('text', 'varchar') THEN
            BEGIN
                EXECUTE pg_catalog.format('SELECT max(ST_SRID(%I::geometry)) FROM %s', candidate.name, reloid)
                    INTO text_srid;
                as_text := candidate.name;
                text_has_srid := text_has_srid AND text_srid IS DISTINCT FROM 0;
                CONTINUE;
            EXCEPTION WHEN others THEN
                IF SQLERRM <> 'parse error - invalid geometry' THEN
                    RAISE EXCEPTION 'CDB(_CDB_Has_Usable_Geom) UNEXPECTED ERROR';
                END IF;
            END;
        END IF;
        other_name := cartodb._cdb_free_name(
            candidate.name, '',
            ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = reloid::oid AND NOT attisdropped)
        );
        PERFORM cartodb._cdb_run(
            '_CDB_Has_Usable_Geom',
            pg_catalog.format('ALTER TABLE %s RENAME COLUMN %I TO %I', reloid, candidate.name, other_name)
        );
    END LOOP;
END
$$;

-- Rename a column; drop another column that has the new name.
CREATE OR REPLACE FUNCTION cartodb._cdb_take_name(reloid regclass, colname name, wanted name) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF colname <> wanted THEN
        PERFORM cartodb._cdb_run(
            '_CDB_Rewrite_Table', pg_catalog.format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', reloid, wanted)
        );
        PERFORM cartodb._cdb_run(
            '_CDB_Rewrite_Table', pg_catalog.format('ALTER TABLE %s RENAME COLUMN %I TO %I', reloid, colname, wanted)
        );
    END IF;
END
$$;

-- Return the expressions for the_geom and the_geom_webmercator of a rewritten table, if it does not have both, and
-- their source column: the text column, else the first geometry column, which is not necessarily the_geom.
CREATE OR REPLACE FUNCTION cartodb._cdb_transformed_geometry(
    reloid regclass, as_text name, text_has_srid boolean, OUT source name, OUT columns text
)
LANGUAGE plpgsql AS $$
DECLARE
    typmod integer;
    first_srid integer;
    value text;
BEGIN
    IF as_text IS NOT NULL THEN
        SELECT a.attname INTO source FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = reloid::oid AND a.attname = as_text AND NOT a.attisdropped
          AND t.typname IN ('text', 'varchar');
        IF NOT FOUND THEN
            RAISE EXCEPTION 'CDB(_CDB_Rewrite_Table): Text column % is missing!', as_text;
        END IF;
        value := pg_catalog.format(
            CASE WHEN text_has_srid THEN '%I::geometry' ELSE 'ST_SetSRID(%I::geometry, 4326)' END, source
        );
    ELSE
        SELECT a.attname, a.atttypmod INTO source, typmod
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = reloid::oid AND a.attnum > 0 AND NOT a.attisdropped AND t.typname = 'geometry'
        ORDER BY a.attnum LIMIT 1;
        IF NOT FOUND THEN
            columns := 'NULL::geometry(Geometry,4326) AS the_geom,'
                       ' NULL::geometry(Geometry,3857) AS the_geom_webmercator';
            RETURN;
        END IF;
        EXECUTE pg_catalog.format('SELECT ST_SRID(%I) FROM %s LIMIT 1', source, reloid) INTO first_srid;
        value := pg_catalog.format(
            CASE WHEN postgis_typmod_srid(typmod) = 0 AND first_srid = 0 THEN 'ST_SetSRID(%I, 4326)' ELSE '%I' END,
            source
        );
    END IF;
    columns := pg_catalog.format(
        'ST_Transform(%1$s, 4326)::geometry(Geometry,4326) AS the_geom,'
        ' cartodb.CDB_TransformToWebmercator(%1$s)::geometry(Geometry,3857) AS the_geom_webmercator', value
    );
END
$$;

-- Copy a table into a new one, with the key and the geometry columns first, and drop it. Defaults, constraints,
-- indexes, triggers and grants are not copied.
CREATE OR REPLACE FUNCTION cartodb._cdb_copy_table(
    reloid regclass, copy text, sequence text, key_expression text, source name, geometry_columns text
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT text := '_CDB_Rewrite_Table';
    rest text;
    highest bigint;
BEGIN
    SELECT coalesce(string_agg(pg_catalog.format(', %I', attname), '' ORDER BY attnum), '') INTO rest
    FROM pg_attribute
    WHERE attrelid = reloid::oid AND attnum > 0 AND NOT attisdropped
      AND attname NOT IN ('cartodb_id', 'the_geom', 'the_geom_webmercator', coalesce(source, ''));
    PERFORM cartodb._cdb_run(step, pg_catalog.format(
        'CREATE TABLE %s AS SELECT %s AS cartodb_id, %s%s FROM %s', copy, key_expression, geometry_columns, rest, reloid
    ));
    EXECUTE pg_catalog.format('SELECT max(cartodb_id) FROM %s', copy) INTO highest;
    IF highest IS NOT NULL THEN
        PERFORM cartodb._cdb_run(step, pg_catalog.format('SELECT pg_catalog.setval(%L, %s)', sequence, highest));
    END IF;
    PERFORM cartodb._cdb_run(
        step,
        pg_catalog.format('ALTER TABLE %s ALTER COLUMN cartodb_id SET DEFAULT pg_catalog.nextval(%L)', copy, sequence)
    );
    PERFORM cartodb._cdb_run(step, pg_catalog.format('ALTER SEQUENCE %s OWNED BY %s.cartodb_id', sequence, copy));
    PERFORM cartodb._cdb_run(step, pg_catalog.format('DROP TABLE %s', reloid));
END
$$;

-- Give a table its final columns and schema. Return the table, which has a new oid if it was rewritten.
CREATE OR REPLACE FUNCTION cartodb._cdb_rewrite_table(reloid regclass, destschema text) RETURNS regclass
LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT text := '_CDB_Rewrite_Table';
    has_key boolean := cartodb._cdb_has_usable_primary_id(reloid);
    old_sequence text := CASE WHEN has_key THEN pg_get_serial_sequence(reloid::text, 'cartodb_id') END;
    space text;
    table_name text;
    taken name[];
    sequence text;
    copy_name text;
    found record;
    source name;
    geometry_columns text := 'the_geom, the_geom_webmercator';
BEGIN
    SELECT n.nspname, c.relname INTO space, table_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = reloid::oid;
    found := cartodb._cdb_find_geometries(reloid);
    PERFORM cartodb._cdb_take_name(reloid, found.lonlat, 'the_geom');
    PERFORM cartodb._cdb_take_name(reloid, found.mercator, 'the_geom_webmercator');
    IF found.lonlat IS NULL OR found.mercator IS NULL THEN
        SELECT g.source, g.columns INTO source, geometry_columns
        FROM cartodb._cdb_transformed_geometry(reloid, found.as_text, found.text_has_srid) g;
    ELSIF old_sequence IS NOT NULL THEN
        IF destschema <> space THEN
            PERFORM cartodb._cdb_run(step, pg_catalog.format('ALTER TABLE %s SET SCHEMA %I', reloid, destschema));
        END IF;
        RETURN reloid;
    END IF;

    sequence := table_name || '_cartodb_id_seq';
    IF old_sequence = pg_catalog.format('%I.%I', destschema, sequence) THEN
        PERFORM cartodb._cdb_run(
            step, pg_catalog.format('ALTER SEQUENCE %s RENAME TO %I', old_sequence, 'tmp_' || sequence)
        );
    END IF;
    taken := ARRAY(SELECT relname FROM pg_class WHERE relnamespace = destschema::regnamespace::oid);
    sequence := pg_catalog.format('%I.%I', destschema, cartodb._cdb_free_name(table_name, '_cartodb_id_seq', taken));
    PERFORM cartodb._cdb_run(step, pg_catalog.format('CREATE SEQUENCE %s', sequence));
    copy_name := CASE WHEN destschema = space THEN cartodb._cdb_free_name(table_name, '', taken) ELSE table_name END;
    PERFORM cartodb._cdb_copy_table(
        reloid, pg_catalog.format('%I.%I', destschema, copy_name), sequence,
        CASE WHEN has_key THEN 'cartodb_id::integer' ELSE pg_catalog.format('pg_catalog.nextval(%L)', sequence) END,
        source, geometry_columns
    );
    IF copy_name <> table_name THEN
        PERFORM cartodb._cdb_run(
            step, pg_catalog.format('ALTER TABLE %I.%I RENAME TO %I', destschema, copy_name, table_name)
        );
    END IF;
    RETURN pg_catalog.format('%I.%I', destschema, table_name)::regclass;
END
$$;

-- Make cartodb_id the primary key, and create a GiST index on each geometry column without one.
CREATE OR REPLACE FUNCTION cartodb._cdb_add_indexes(reloid regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT text := '_CDB_Add_Indexes';
    key record;
    colname name;
BEGIN
    SELECT c.conname AS name, a.attname AS column INTO key
    FROM pg_constraint c LEFT JOIN pg_attribute a
        ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum] AND a.attname = 'cartodb_id'
    WHERE c.conrelid = reloid::oid AND c.contype = 'p';
    IF FOUND AND key.column IS NULL THEN
        PERFORM cartodb._cdb_run(step, pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', reloid, key.name));
    END IF;
    IF key.column IS NULL THEN
        PERFORM cartodb._cdb_run(step, pg_catalog.format('ALTER TABLE %s ADD PRIMARY KEY (cartodb_id)', reloid));
    END IF;
    FOR colname IN
        SELECT a.attname FROM pg_attribute a
        WHERE a.attrelid = reloid::oid AND a.attname IN ('the_geom', 'the_geom_webmercator') AND NOT a.attisdropped
          AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                          JOIN pg_am m ON m.oid = c.relam
                          WHERE i.indrelid = reloid::oid AND a.attnum = ANY(i.indkey) AND m.amname = 'gist')
        ORDER BY a.attname
    LOOP
        PERFORM cartodb._cdb_run(step, pg_catalog.format('CREATE INDEX ON %s USING gist (%I)', reloid, colname));
    END LOOP;
END
$$;

-- The quota is checked for 1 of 10 statements and 1 of 1000 rows, on average. The arguments of the trigger are the
-- probability, an unused quota, and the schema whose size is checked.
CREATE OR REPLACE FUNCTION cartodb._cdb_create_triggers(destschema text, reloid regclass) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE pg_catalog.format(
        'CREATE TRIGGER track_updates AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s'
        ' FOR EACH STATEMENT EXECUTE FUNCTION cartodb.cdb_tablemetadata_trigger()', reloid
    );
    EXECUTE pg_catalog.format(
        'CREATE TRIGGER update_the_geom_webmercator_trigger BEFORE INSERT OR UPDATE OF the_geom ON %s'
        ' FOR EACH ROW EXECUTE FUNCTION cartodb._cdb_update_the_geom_webmercator()', reloid
    );
    EXECUTE pg_catalog.format(
        'CREATE TRIGGER test_quota BEFORE INSERT OR UPDATE ON %s'
        ' FOR EACH STATEMENT EXECUTE FUNCTION cartodb.cdb_checkquota(0.1, ''-1'', %L)', reloid, destschema
    );
    EXECUTE pg_catalog.format(
        'CREATE TRIGGER test_quota_per_row BEFORE INSERT OR UPDATE ON %s'
        ' FOR EACH ROW EXECUTE FUNCTION cartodb.cdb_checkquota(0.001, ''-1'', %L)', reloid, destschema
    );
END
$$;

-- Return the table, which has a new oid if it was rewritten.
CREATE OR REPLACE FUNCTION cartodb.cdb_cartodbfytable(destschema text, reloid regclass) RETURNS regclass
LANGUAGE plpgsql AS $$
DECLARE
    trigger_name text;
    result regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = destschema) THEN
        RAISE EXCEPTION 'Invalid schema name "%"', destschema;
    END IF;
    FOREACH trigger_name IN ARRAY
        '{track_updates,update_the_geom_webmercator_trigger,test_quota,test_quota_per_row}'::text[]
    LOOP
        EXECUTE pg_catalog.format('DROP TRIGGER IF EXISTS %I ON %s', trigger_name, reloid);
    END LOOP;
    result := cartodb._cdb_rewrite_table(reloid, destschema);
    PERFORM cartodb._cdb_add_indexes(result);
    PERFORM cartodb._cdb_create_triggers(destschema, result);
    RETURN result;
END
$$;

-- A table in another schema is moved to public.
CREATE OR REPLACE FUNCTION cartodb.cdb_cartodbfytable(reloid regclass) RETURNS regclass
LANGUAGE sql AS $$ SELECT cartodb.cdb_cartodbfytable('public', reloid) $$;
