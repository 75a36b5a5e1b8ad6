-- The account's catalog: what it knows of its tables beside what PostgreSQL does, its maps, and the members of
-- its organization. No role of an api key may look into it.

-- Datasets (type "table") and maps. Whether a dataset is public is no column here: it is a grant.
CREATE TABLE IF NOT EXISTS cartodb_local.visualizations (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    type               text NOT NULL CHECK (type IN ('table', 'derived', 'slide', 'kuviz')),
    name               text NOT NULL,
    -- Of datasets:
    schema_name        text,
    table_oid          oid UNIQUE,
    table_id           uuid UNIQUE,
    is_link            boolean NOT NULL DEFAULT false, -- a public one that is not to be listed
    -- Of maps:
    map_privacy        text CHECK (map_privacy IN ('public', 'link', 'private', 'password')),
    -- Of both:
    password_hash      text, -- a dataset that has one and is not public has the privacy "password"
    display_name       text,
    title              text,
    description        text,
    tags               text[] NOT NULL DEFAULT '{}',
    license            text,
    attributions       text,
    source             text,
    kind               text NOT NULL DEFAULT 'geom',
    locked             boolean NOT NULL DEFAULT false,
    transition_options jsonb NOT NULL DEFAULT '{}',
    map_id             uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    permission_id      uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    acl                jsonb NOT NULL DEFAULT '[]', -- of {"type", "id", "access"}
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CHECK (CASE type WHEN 'table' THEN num_nulls(schema_name, table_oid, table_id) = 0
           ELSE map_privacy IS NOT NULL END)
);

-- Not in CREATE TABLE: a database of an earlier version has the table without them.
ALTER TABLE cartodb_local.visualizations
    ADD COLUMN IF NOT EXISTS version         integer NOT NULL DEFAULT 3, -- 3: made with Builder, 2: with its predecessor
    ADD COLUMN IF NOT EXISTS active_layer_id uuid,
    ADD COLUMN IF NOT EXISTS is_liked        boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS map_settings    jsonb NOT NULL DEFAULT '{}', -- center, zoom and so on, without defaults
    ADD COLUMN IF NOT EXISTS bbox            float8[], -- west, south, east and north of an imported dataset
    ALTER COLUMN map_id DROP NOT NULL; -- an empty map has none

-- The layers of maps, the lowest first; those of a dataset's own map, too, once they have been requested.
CREATE TABLE IF NOT EXISTS cartodb_local.map_layers (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    map_id     uuid NOT NULL REFERENCES cartodb_local.visualizations ON DELETE CASCADE, -- id of the visualization
    dataset_id uuid REFERENCES cartodb_local.visualizations ON DELETE CASCADE, -- of data layers
    position   integer NOT NULL,
    kind       text NOT NULL,
    options    jsonb NOT NULL DEFAULT '{}',
    infowindow jsonb,
    tooltip    jsonb
);
CREATE INDEX IF NOT EXISTS map_layers_map_id ON cartodb_local.map_layers (map_id);
CREATE INDEX IF NOT EXISTS map_layers_dataset_id ON cartodb_local.map_layers (dataset_id);

-- The datasets that maps show, with the position of the lowest layer.
CREATE OR REPLACE VIEW cartodb_local.map_datasets AS
SELECT map_id, dataset_id, min(position) AS position
FROM cartodb_local.map_layers WHERE dataset_id <> map_id GROUP BY map_id, dataset_id;

-- Published versions of maps; a map has at most one.
CREATE TABLE IF NOT EXISTS cartodb_local.mapcaps (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    map_id      uuid NOT NULL UNIQUE REFERENCES cartodb_local.visualizations ON DELETE CASCADE,
    related_ids jsonb NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- Members of the account's organization beside the account itself, who owns it.
CREATE TABLE IF NOT EXISTS cartodb_local.members (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    username       text NOT NULL UNIQUE,
    email          text NOT NULL UNIQUE,
    password_hash  text NOT NULL,
    role           name NOT NULL UNIQUE,
    quota_in_bytes bigint NOT NULL CHECK (quota_in_bytes > 0),
    name           text,
    last_name      text,
    viewer         boolean NOT NULL DEFAULT false,
    org_admin      boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

REVOKE ALL ON ALL TABLES IN SCHEMA cartodb_local FROM PUBLIC;

-- The tables that are datasets: cartodbfied ones in the schema "public", owned by the account or a key of it.
-- Not CREATE OR REPLACE: in a database of an earlier version, the collation of a column is another one.
DROP VIEW IF EXISTS cartodb_local.user_tables;
CREATE VIEW cartodb_local.user_tables AS
SELECT c.oid, 'public'::text AS schema_name, c.relname::text AS name
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND t.tgname = 'test_quota_per_row'
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
  AND c.relowner IN (SELECT r.oid FROM pg_catalog.pg_roles r
                     WHERE r.rolname IN (SELECT owner_role FROM cartodb_local.account
                                         UNION ALL SELECT role FROM cartodb_local.api_keys))
  AND (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
       AND a.attname IN ('cartodb_id', 'the_geom', 'the_geom_webmercator')) = 3;

-- Delete the maps that show only the given datasets.
CREATE OR REPLACE FUNCTION cartodb_local.delete_maps_of(datasets uuid[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog AS $$
    DELETE FROM cartodb_local.visualizations m
    WHERE id IN (SELECT map_id FROM cartodb_local.map_datasets WHERE dataset_id = ANY (datasets))
      AND NOT EXISTS
          (SELECT FROM cartodb_local.map_datasets s WHERE s.map_id = m.id AND s.dataset_id <> ALL (datasets))
$$;
REVOKE ALL ON FUNCTION cartodb_local.delete_maps_of(uuid[]) FROM PUBLIC;

-- Bring the datasets up to date with the tables: new tables get a row, those that are gone lose theirs, and maps
-- that have lost all their tables go, too. A table that was renamed is the same one; so is another table under
-- the name of one that is gone, as a rewritten table is. Returns the ids of datasets that are another table now.
CREATE OR REPLACE FUNCTION cartodb_local.register_tables() RETURNS SETOF uuid
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    heir record;
    gone uuid[];
BEGIN
    IF NOT EXISTS (
        SELECT FROM cartodb_local.user_tables t
        FULL JOIN (SELECT * FROM cartodb_local.visualizations WHERE type = 'table') v ON v.table_oid = t.oid
        WHERE (v.schema_name, v.name) IS DISTINCT FROM (t.schema_name, t.name)
    ) THEN
        RETURN;
    END IF;
    FOR heir IN
        SELECT v.id, t.oid, rival.id AS rival_id
        FROM cartodb_local.visualizations v
        JOIN cartodb_local.user_tables t USING (schema_name, name)
        LEFT JOIN cartodb_local.visualizations rival ON rival.table_oid = t.oid
        WHERE v.type = 'table' AND NOT EXISTS (SELECT FROM cartodb_local.user_tables u WHERE u.oid = v.table_oid)
    LOOP
        UPDATE cartodb_local.map_layers SET dataset_id = heir.id
        WHERE dataset_id = heir.rival_id AND map_id <> heir.rival_id;
        DELETE FROM cartodb_local.visualizations WHERE id = heir.rival_id;
        UPDATE cartodb_local.visualizations SET table_oid = heir.oid WHERE id = heir.id;
        RETURN NEXT heir.id;
    END LOOP;
    UPDATE cartodb_local.visualizations v SET schema_name = t.schema_name, name = t.name
    FROM cartodb_local.user_tables t
    WHERE v.table_oid = t.oid AND (v.schema_name, v.name) <> (t.schema_name, t.name);
    SELECT array_agg(id) INTO gone FROM cartodb_local.visualizations v
    WHERE type = 'table' AND NOT EXISTS (SELECT FROM cartodb_local.user_tables t WHERE t.oid = v.table_oid);
    PERFORM cartodb_local.delete_maps_of(gone);
    DELETE FROM cartodb_local.visualizations WHERE id = ANY (gone);
    INSERT INTO cartodb_local.visualizations (type, schema_name, name, table_oid, table_id)
    SELECT 'table', schema_name, name, oid, gen_random_uuid() FROM cartodb_local.user_tables
    ON CONFLICT (table_oid) DO NOTHING;
END
$$;
REVOKE ALL ON FUNCTION cartodb_local.register_tables() FROM PUBLIC;
REVOKE ALL ON cartodb_local.user_tables, cartodb_local.map_datasets FROM PUBLIC;
