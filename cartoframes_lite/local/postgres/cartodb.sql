-- The functions of CARTO's databases that clients call, in the schema ``cartodb``, which is on the search path.
-- Every key may use them. They run with the rights of the caller, except where SECURITY DEFINER says otherwise:
-- those have a search path of their own. Run at each start: everything here can be run again.

CREATE SCHEMA IF NOT EXISTS cartodb;

-- When the tables were last changed --------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS cartodb.cdb_tablemetadata (
    tabname    regclass PRIMARY KEY,
    updated_at timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON cartodb.cdb_tablemetadata FROM PUBLIC;
GRANT SELECT ON cartodb.cdb_tablemetadata TO PUBLIC;

-- Rows of tables that are gone are removed on the way. Two transactions that are the first to change a table at the
-- same time collide on the key, as on CARTO. A transaction always leaves a version of the row of its own, but one for
-- all of its statements: with it, caches tell also a transaction that began before the last one that was committed.
CREATE OR REPLACE FUNCTION cartodb._cdb_touch(tablename regclass) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM cartodb.cdb_tablemetadata m WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = m.tabname);
    UPDATE cartodb.cdb_tablemetadata SET updated_at = greatest(updated_at, now())
    WHERE tabname = tablename AND xmin <> pg_current_xact_id()::xid;
    INSERT INTO cartodb.cdb_tablemetadata (tabname, updated_at)
    SELECT tablename, now() WHERE NOT EXISTS (SELECT FROM cartodb.cdb_tablemetadata WHERE tabname = tablename);
END
$$;

-- For the account's owner only, as on CARTO: any other key makes a table's trigger fire, by "DELETE ... WHERE false".
CREATE OR REPLACE FUNCTION cartodb.cdb_tablemetadatatouch(tablename regclass) RETURNS void
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT cartodb._cdb_touch(tablename)
$$;
REVOKE ALL ON FUNCTION cartodb.cdb_tablemetadatatouch(regclass) FROM PUBLIC;

-- With the definer's rights, for rows may also come through a view, by who may not write to the table itself.
CREATE OR REPLACE FUNCTION cartodb.cdb_tablemetadata_trigger() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM cartodb._cdb_touch(TG_RELID);
    RETURN NULL;
END
$$;

-- Quota ------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION cartodb._cdb_userquotainbytes() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT quota_bytes FROM cartodb_local.account
$$;

CREATE OR REPLACE FUNCTION cartodb.cdb_userquotainbytes() RETURNS bigint
LANGUAGE sql STABLE AS $$ SELECT cartodb._cdb_userquotainbytes() $$;

-- For the account's owner only.
CREATE OR REPLACE FUNCTION cartodb.cdb_setuserquotainbytes(bytes bigint) RETURNS bigint
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE cartodb_local.account SET quota_bytes = bytes RETURNING quota_bytes
$$;
REVOKE ALL ON FUNCTION cartodb.cdb_setuserquotainbytes(bigint) FROM PUBLIC;

-- Waits for whoever has an ACCESS EXCLUSIVE lock on the table. What goes wrong meanwhile, a deadlock above all, is no
-- more than a notice.
CREATE OR REPLACE FUNCTION cartodb._cdb_total_relation_size(schema_name text, table_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN coalesce(pg_total_relation_size(pg_catalog.format('%I.%I', schema_name, table_name)::regclass), 0);
EXCEPTION WHEN others THEN
    RAISE NOTICE 'cartodb._CDB_total_relation_size(''%'', ''%'') caught error: % (%)',
        schema_name, table_name, SQLERRM, SQLSTATE;
    RETURN 0;
END
$$;

-- Half of the bytes on disk: CARTO does not charge for its second geometry column.
CREATE OR REPLACE FUNCTION cartodb.cdb_userdatasize(schema_name text) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT (coalesce(sum(cartodb._cdb_total_relation_size(n.nspname, c.relname)), 0) / 2)::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = schema_name AND c.relkind = 'r' AND c.relname !~ '^analysis_[a-f0-9]{10}_[a-f0-9]{40}$'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
$$;

CREATE OR REPLACE FUNCTION cartodb.cdb_userdatasize() RETURNS bigint
LANGUAGE sql VOLATILE AS $$ SELECT cartodb.cdb_userdatasize('public') $$;

-- Measures the tables of a schema, with some probability; a quota of 0 is none.
CREATE OR REPLACE FUNCTION cartodb.cdb_checkquota() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    quota bigint;
    used double precision;
BEGIN
    IF random() >= TG_ARGV[0]::double precision THEN
        RETURN NEW;
    END IF;
    quota := cartodb._cdb_userquotainbytes();
    IF quota <> 0 THEN
        used := cartodb.cdb_userdatasize(TG_ARGV[2]);
        IF used > quota THEN
            RAISE EXCEPTION 'Quota exceeded by %KB', (used - quota) / 1024;
        END IF;
    END IF;
    RETURN NEW;
END
$$;

-- Looking at tables ------------------------------------------------------------------------------------------

-- Names of the tables that the caller may read; 'public' and 'private' of them only.
CREATE OR REPLACE FUNCTION cartodb.cdb_usertables(perm text DEFAULT 'all') RETURNS SETOF name
LANGUAGE sql STABLE AS $$
    SELECT c.relname
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT has_table_privilege('publicuser', c.oid, 'SELECT') AS is_public) p
    WHERE c.relkind = 'r'
      AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'cartodb', 'cartodb_local')
      AND has_table_privilege(c.oid, 'SELECT')
      AND CASE perm WHEN 'all' THEN true WHEN 'public' THEN is_public WHEN 'private' THEN NOT is_public END
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
$$;

CREATE OR REPLACE FUNCTION cartodb.cdb_columnnames(tabname regclass) RETURNS SETOF name
LANGUAGE sql STABLE AS $$
    SELECT attname FROM pg_attribute WHERE attrelid = tabname AND attnum > 0 AND NOT attisdropped ORDER BY attnum
$$;

CREATE OR REPLACE FUNCTION cartodb.cdb_columntype(tabname regclass, colname text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = tabname AND attname = colname AND attnum > 0 AND NOT attisdropped
$$;

-- The statements of a string. Quotes of all kinds and comments may hold semicolons.
CREATE OR REPLACE FUNCTION cartodb.cdb_querystatements(query text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT btrim(part[1], E' \t\r\n')
    FROM regexp_matches(
        query,
        '((?:[^''"$;/-]|"[^"]*"|''[^'']*''|\$[A-Za-z_]*\$[^$]*\$[A-Za-z_]*\$|--[^\n]*'
        '|/\*(?:[^*]|\*(?!/))*\*/|[$/-])+)',
        'g'
    ) part
    WHERE btrim(part[1], E' \t\r\n') <> ''
$$;

-- The tables that statements read or write, as schema.name, sorted. Nothing is run.
CREATE OR REPLACE FUNCTION cartodb.cdb_querytablestext(query text) RETURNS text[]
LANGUAGE plpgsql VOLATILE STRICT AS $$ -- EXPLAIN is refused in a STABLE function
DECLARE
    statement text;
    plan jsonb;
    found text[] := '{}';
BEGIN
    FOR statement IN SELECT cartodb.cdb_querystatements(query) LOOP
        BEGIN
            -- A loop has a cursor, which takes one statement only, whatever the split above has overlooked.
            FOR plan IN EXECUTE 'EXPLAIN (FORMAT JSON, VERBOSE) ' || statement LOOP
                found := found || ARRAY(
                    SELECT quote_ident(node ->> 'Schema') || '.' || quote_ident(node ->> 'Relation Name')
                    FROM jsonb_path_query(plan, 'strict $.** ? (exists (@."Relation Name"))') node
                );
            END LOOP;
        EXCEPTION WHEN syntax_error THEN
            CONTINUE; -- has no plan: DDL, SET, COPY
        END;
    END LOOP;
    RETURN ARRAY(SELECT DISTINCT name COLLATE "C" FROM unnest(found) name ORDER BY 1);
END
$$;

-- Geometry ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION cartodb.cdb_latlng(lat numeric, lng numeric) RETURNS geometry
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT ST_SetSRID(ST_MakePoint(lng, lat), 4326) $$;

CREATE OR REPLACE FUNCTION cartodb.cdb_latlng(lat double precision, lng double precision) RETURNS geometry
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT ST_SetSRID(ST_MakePoint(lng, lat), 4326) $$;

-- Meters of a pixel of 256-pixel tiles at the equator.
CREATE OR REPLACE FUNCTION cartodb.cdb_xyz_resolution(z integer) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT 2 * pi() * 6378137 / 256 / 2.0::float8 ^ z $$;

-- The square of a tile, EPSG:3857.
CREATE OR REPLACE FUNCTION cartodb.cdb_xyz_extent(x integer, y integer, z integer) RETURNS geometry
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ST_MakeEnvelope(side * x - half, half - side * (y + 1), side * (x + 1) - half, half - side * y, 3857)
    FROM (SELECT pi() * 6378137 AS half, cartodb.cdb_xyz_resolution(z) * 256 AS side) tile
$$;

-- What is beyond 89 degrees of latitude or 180 of longitude cannot be shown: cut off. NULL if nothing is left.
CREATE OR REPLACE FUNCTION cartodb._cdb_cliptowebmercator(geom geometry) RETURNS geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    world CONSTANT geometry := ST_MakeEnvelope(-180, -89, 180, 89, 4326);
    lonlat geometry := CASE ST_SRID(geom) WHEN 4326 THEN geom WHEN 0 THEN ST_SetSRID(geom, 4326)
                       ELSE ST_Transform(geom, 4326) END;
    clipped geometry;
BEGIN
    IF ST_IsEmpty(lonlat) OR lonlat @ world THEN
        RETURN ST_Transform(lonlat, 3857);
    END IF;
    BEGIN
        clipped := ST_Intersection(lonlat, world);
    EXCEPTION WHEN internal_error THEN
        clipped := ST_Intersection(ST_MakeValid(lonlat), world);
    END;
    -- A polygon that only touches the edge leaves a line there.
    IF ST_GeometryType(lonlat) <> 'ST_GeometryCollection' AND ST_Dimension(clipped) < ST_Dimension(lonlat) THEN
        RETURN NULL;
    ELSIF ST_GeometryType(clipped) = 'ST_GeometryCollection'
          AND ST_GeometryType(lonlat) <> 'ST_GeometryCollection' THEN
        clipped := ST_CollectionExtract(clipped, ST_Dimension(lonlat) + 1);
    END IF;
    IF ST_IsEmpty(clipped) THEN
        RETURN NULL;
    END IF;
    -- A column of multi-geometries stays one.
    RETURN ST_Transform(CASE WHEN ST_GeometryType(lonlat) LIKE 'ST\_Multi%' THEN ST_Multi(clipped) ELSE clipped END, 3857);
END
$$;

-- Written so that PostgreSQL inlines the ordinary case.
CREATE OR REPLACE FUNCTION cartodb.cdb_transformtowebmercator(geom geometry) RETURNS geometry
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN ST_SRID(geom) = 4326 AND geom @ ST_MakeEnvelope(-180, -89, 180, 89, 4326) THEN ST_Transform(geom, 3857)
        WHEN ST_SRID(geom) = 3857 THEN geom
        ELSE cartodb._cdb_cliptowebmercator(geom)
    END
$$;

CREATE OR REPLACE FUNCTION cartodb._cdb_update_the_geom_webmercator() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.the_geom_webmercator := cartodb.cdb_transformtowebmercator(NEW.the_geom);
    RETURN NEW;
END
$$;
