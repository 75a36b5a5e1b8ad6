-- CDB_CartodbfyTable: give a table the columns, indexes and triggers that CARTO's maps and clients expect.

-- Tell whether a table needs no rewriting: cartodb_id is a unique integer that fills itself, and both geometry
-- columns have their SRID. Types with Z or M, and columns in any order, will do.
CREATE OR REPLACE FUNCTION cartodb._cdb_has_final_shape(reloid regclass) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT count(*) FILTER (
               WHERE a.attname = 'cartodb_id' AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
                 AND a.attnotnull
                 AND (a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%')
                 AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = reloid AND i.indisunique AND i.indisvalid
                             AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum
                             AND i.indpred IS NULL AND i.indexprs IS NULL)
           ) = 1
       AND count(*) FILTER (WHERE a.attname = 'the_geom' AND format_type(a.atttypid, NULL) = 'geometry'
                            AND postgis_typmod_srid(a.atttypmod) = 4326) = 1
       AND count(*) FILTER (WHERE a.attname = 'the_geom_webmercator' AND format_type(a.atttypid, NULL) = 'geometry'
                            AND postgis_typmod_srid(a.atttypmod) = 3857) = 1
    FROM pg_attribute a
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = reloid AND a.attnum > 0 AND NOT a.attisdropped
$$;

-- The expression that fills cartodb_id, a bigint: the column of this name, or the number of the row.
CREATE OR REPLACE FUNCTION cartodb._cdb_has_usable_primary_id(reloid regclass) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    usable boolean;
BEGIN
    IF NOT EXISTS (SELECT FROM cartodb.cdb_columnnames(reloid) c WHERE c = 'cartodb_id') THEN
        RETURN 'row_number() OVER ()';
    END IF;
    BEGIN
        EXECUTE format('SELECT count(cartodb_id) = count(*) AND count(DISTINCT cartodb_id::text::bigint) = count(*)'
                       ' FROM %s', reloid) INTO usable;
    EXCEPTION WHEN data_exception THEN
        usable := false;
    END;
    IF NOT usable THEN
        RAISE EXCEPTION '_CDB_Has_Usable_Primary_ID: Error: invalid cartodb_id';
    END IF;
    RETURN 'cartodb_id::text::bigint';
END
$$;

-- The column that becomes the_geom, or NULL: of this name if it is geometry or text that can be read as such,
-- else the first column of geometry, one with SRID 4326 before others.
CREATE OR REPLACE FUNCTION cartodb._cdb_geometry_column(reloid regclass) RETURNS name
LANGUAGE plpgsql STABLE AS $$
DECLARE
    kind text := cartodb.cdb_columntype(reloid, 'the_geom');
BEGIN
    IF kind = 'geometry' THEN
        RETURN 'the_geom';
    ELSIF kind IN ('text', 'character varying', 'character', 'geography', 'bytea') THEN
        BEGIN
            EXECUTE format('SELECT count(the_geom::geometry) FROM %s', reloid);
            RETURN 'the_geom';
        EXCEPTION WHEN internal_error OR data_exception THEN
            NULL; -- kept under another name
        END;
    END IF;
    RETURN (
        SELECT attname FROM pg_attribute
        WHERE attrelid = reloid AND attnum > 0 AND NOT attisdropped AND format_type(atttypid, NULL) = 'geometry'
        ORDER BY postgis_typmod_srid(atttypmod) = 4326 DESC, attname = 'the_geom_webmercator', attnum
        LIMIT 1
    );
END
$$;

-- The type of the_geom, and the expression that fills it from a column. A column that has the SRID in its type
-- keeps the type; else its rows say whether they have Z or M.
CREATE OR REPLACE FUNCTION cartodb._cdb_geometry_expression(
    reloid regclass, colname name, OUT type text, OUT expression text
)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    typmod integer;
    dimensions integer;
BEGIN
    SELECT CASE WHEN format_type(atttypid, NULL) = 'geometry' THEN atttypmod ELSE -1 END INTO typmod
    FROM pg_attribute WHERE attrelid = reloid AND attname = colname;
    IF postgis_typmod_srid(typmod) = 4326 THEN
        type := format('geometry(%s,4326)', postgis_typmod_type(typmod));
        expression := format('%I', colname);
        RETURN;
    END IF;
    EXECUTE format('SELECT coalesce(bit_or(ST_Zmflag(%I::geometry)), 0) FROM %s', colname, reloid) INTO dimensions;
    type := format('geometry(Geometry%s,4326)', (ARRAY['', 'M', 'Z', 'ZM'])[dimensions + 1]);
    expression := format(
        '%s(CASE ST_SRID(%2$I::geometry) WHEN 4326 THEN %2$I::geometry'
        ' WHEN 0 THEN ST_SetSRID(%2$I::geometry, 4326) ELSE ST_Transform(%2$I::geometry, 4326) END)',
        (ARRAY['ST_Force2D', 'ST_Force3DM', 'ST_Force3DZ', 'ST_Force4D'])[dimensions + 1], colname
    );
END
$$;

-- Replace a table by one in final shape; return the new one. What hangs on the old one (defaults, constraints,
-- indexes, triggers, grants) is lost, as on CARTO.
CREATE OR REPLACE FUNCTION cartodb._cdb_rewrite_table(reloid regclass) RETURNS regclass
LANGUAGE plpgsql AS $$
DECLARE
    id_expression text := cartodb._cdb_has_usable_primary_id(reloid);
    geometry_column name := cartodb._cdb_geometry_column(reloid);
    geometry_type text := 'geometry(Geometry,4326)';
    geometry_expression text := 'NULL';
    mercator_expression text;
    mercator_type text;
    rest text;
    space name;
    old_name name;
    owner name;
    staging text := 'cdb_rewrite_' || reloid::oid;
    sequence text;
    result regclass;
BEGIN
    SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner) INTO space, old_name, owner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = reloid;
    IF geometry_column IS NOT NULL THEN
        SELECT g.type, g.expression INTO geometry_type, geometry_expression
        FROM cartodb._cdb_geometry_expression(reloid, geometry_column) g;
    END IF;
    SELECT 'the_geom_webmercator', format_type(atttypid, atttypmod) INTO mercator_expression, mercator_type
    FROM pg_attribute
    WHERE attrelid = reloid AND attname = 'the_geom_webmercator' AND attnum > 0 AND NOT attisdropped
      AND format_type(atttypid, NULL) = 'geometry' AND postgis_typmod_srid(atttypmod) = 3857;
    IF NOT FOUND THEN
        mercator_expression :=
            format('cartodb.cdb_transformtowebmercator((%s)::%s)', geometry_expression, geometry_type);
        -- Of any kind: clipping makes several polygons of one.
        mercator_type := format('geometry(Geometry%s,3857)', substring(geometry_type FROM '(ZM|Z|M),'));
    END IF;
    SELECT coalesce(string_agg(', ' || CASE WHEN attname = 'the_geom' THEN 'the_geom AS invalid_the_geom'
                               ELSE quote_ident(attname) END, '' ORDER BY attnum), '') INTO rest
    FROM pg_attribute
    WHERE attrelid = reloid AND attnum > 0 AND NOT attisdropped
      AND attname NOT IN ('cartodb_id', 'the_geom_webmercator', coalesce(geometry_column, ''));

    EXECUTE format(
        'CREATE TABLE %I.%I AS SELECT (%s) AS cartodb_id, (%s)::%s AS the_geom,'
        ' (%s)::%s AS the_geom_webmercator%s FROM %s',
        space, staging, id_expression, geometry_expression, geometry_type,
        mercator_expression, mercator_type, rest, reloid
    );
    EXECUTE format('DROP TABLE %s', reloid);
    EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', space, staging, old_name);
    result := format('%I.%I', space, old_name)::regclass;

    sequence := left(old_name, 48) || '_cartodb_id_seq';
    WHILE to_regclass(format('%I.%I', space, sequence)) IS NOT NULL LOOP
        sequence := left(old_name, 40) || '_' || substr(md5(random()::text), 1, 7) || '_cartodb_id_seq';
    END LOOP;
    EXECUTE format('CREATE SEQUENCE %I.%I OWNED BY %s.cartodb_id', space, sequence, result);
    EXECUTE format('SELECT setval(%L, coalesce(max(cartodb_id), 0) + 1, false) FROM %s',
                   format('%I.%I', space, sequence), result);
    EXECUTE format('ALTER TABLE %s ALTER cartodb_id SET DEFAULT nextval(%L), ALTER cartodb_id SET NOT NULL,'
                   ' ADD PRIMARY KEY (cartodb_id)', result, format('%I.%I', space, sequence));
    IF owner <> current_user THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %I', result, owner);
    END IF;
    RETURN result;
END
$$;

CREATE OR REPLACE FUNCTION cartodb._cdb_create_indexes_and_triggers(reloid regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    colname name;
BEGIN
    FOR colname IN
        SELECT attname FROM pg_attribute a
        WHERE attrelid = reloid AND attname IN ('the_geom', 'the_geom_webmercator') AND NOT attisdropped
          AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                          JOIN pg_am m ON m.oid = c.relam
                          WHERE i.indrelid = reloid AND i.indkey[0] = a.attnum AND m.amname = 'gist')
        ORDER BY attnum
    LOOP
        EXECUTE format('CREATE INDEX ON %s USING gist (%I)', reloid, colname);
    END LOOP;
    EXECUTE format('CREATE OR REPLACE TRIGGER track_updates AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s'
                   ' FOR EACH STATEMENT EXECUTE FUNCTION cartodb.cdb_tablemetadata_trigger()', reloid);
    EXECUTE format('CREATE OR REPLACE TRIGGER update_the_geom_webmercator_trigger'
                   ' BEFORE INSERT OR UPDATE OF the_geom ON %s'
                   ' FOR EACH ROW EXECUTE FUNCTION cartodb._cdb_update_the_geom_webmercator()', reloid);
    EXECUTE format('CREATE OR REPLACE TRIGGER test_quota BEFORE INSERT OR UPDATE ON %s'
                   ' FOR EACH STATEMENT EXECUTE FUNCTION cartodb.cdb_checkquota()', reloid);
END
$$;

-- Returns the table: another one than before if it had to be rewritten.
CREATE OR REPLACE FUNCTION cartodb.cdb_cartodbfytable(destschema text, reloid regclass) RETURNS regclass
LANGUAGE plpgsql AS $$
DECLARE
    kind "char";
    space name;
    result regclass := reloid;
BEGIN
    SELECT c.relkind, n.nspname INTO kind, space
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = reloid;
    IF kind IS DISTINCT FROM 'r' THEN
        RAISE EXCEPTION 'CDB_CartodbfyTable: % is not a table', reloid;
    END IF;
    IF space <> destschema THEN
        EXECUTE format('ALTER TABLE %s SET SCHEMA %I', reloid, destschema);
    END IF;
    IF NOT cartodb._cdb_has_final_shape(reloid) THEN
        result := cartodb._cdb_rewrite_table(reloid);
    END IF;
    PERFORM cartodb._cdb_create_indexes_and_triggers(result);
    PERFORM cartodb.cdb_tablemetadatatouch(result);
    RETURN result;
END
$$;

-- In the schema where the table is.
CREATE OR REPLACE FUNCTION cartodb.cdb_cartodbfytable(reloid regclass) RETURNS regclass
LANGUAGE sql AS $$
    SELECT cartodb.cdb_cartodbfytable(n.nspname::text, c.oid::regclass)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = reloid
$$;
