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
    password_hash      text,
    -- Of both:
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

-- The datasets that maps show, the lowest layer first.
CREATE TABLE IF NOT EXISTS cartodb_local.layers (
    map_id     uuid NOT NULL REFERENCES cartodb_local.visualizations ON DELETE CASCADE,
    dataset_id uuid NOT NULL REFERENCES cartodb_local.visualizations ON DELETE CASCADE,
    position   integer NOT NULL,
    PRIMARY KEY (map_id, dataset_id)
);
CREATE INDEX IF NOT EXISTS layers_dataset_id ON cartodb_local.layers (dataset_id);

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

-- The tables that are datasets: ordinary ones, but those of extensions and of the server itself.
CREATE OR REPLACE VIEW cartodb_local.user_tables AS
SELECT c.oid, n.nspname::text AS schema_name, c.relname::text AS name
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'cartodb', 'cartodb_local')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e');

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
        UPDATE cartodb_local.layers l SET dataset_id = heir.id
        WHERE dataset_id = heir.rival_id AND NOT EXISTS
            (SELECT FROM cartodb_local.layers o WHERE o.map_id = l.map_id AND o.dataset_id = heir.id);
        DELETE FROM cartodb_local.visualizations WHERE id = heir.rival_id;
        UPDATE cartodb_local.visualizations SET table_oid = heir.oid WHERE id = heir.id;
        RETURN NEXT heir.id;
    END LOOP;
    UPDATE cartodb_local.visualizations v SET schema_name = t.schema_name, name = t.name
    FROM cartodb_local.user_tables t
    WHERE v.table_oid = t.oid AND (v.schema_name, v.name) <> (t.schema_name, t.name);
    SELECT array_agg(id) INTO gone FROM cartodb_local.visualizations v
    WHERE type = 'table' AND NOT EXISTS (SELECT FROM cartodb_local.user_tables t WHERE t.oid = v.table_oid);
    DELETE FROM cartodb_local.visualizations m
    WHERE id IN (SELECT map_id FROM cartodb_local.layers WHERE dataset_id = ANY (gone))
      AND NOT EXISTS (SELECT FROM cartodb_local.layers l WHERE l.map_id = m.id AND l.dataset_id <> ALL (gone));
    DELETE FROM cartodb_local.visualizations WHERE id = ANY (gone);
    INSERT INTO cartodb_local.visualizations (type, schema_name, name, table_oid, table_id)
    SELECT 'table', schema_name, name, oid, gen_random_uuid() FROM cartodb_local.user_tables
    ON CONFLICT (table_oid) DO NOTHING;
END
$$;
REVOKE ALL ON FUNCTION cartodb_local.register_tables() FROM PUBLIC;
REVOKE ALL ON cartodb_local.user_tables FROM PUBLIC;
