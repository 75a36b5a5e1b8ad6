-- Import jobs and synchronizations. Times are those of the server's own clock, never now().
CREATE TABLE IF NOT EXISTS cartodb_local.imports (
    id                     uuid PRIMARY KEY,
    data_type              text NOT NULL,
    display_name           text NOT NULL,
    original_url           text,
    table_id               text,
    table_name             text,
    state                  text NOT NULL DEFAULT 'pending' CHECK (state IN
                           ('enqueued', 'pending', 'uploading', 'unpacking', 'importing', 'complete', 'failure')),
    success                boolean,
    error_code             int,
    tables_created_count   int,
    synchronization_id     uuid,
    type_guessing          boolean NOT NULL,
    quoted_fields_guessing boolean NOT NULL,
    content_guessing       boolean NOT NULL,
    create_visualization   boolean NOT NULL,
    visualization_id       text,
    user_defined_limits    text NOT NULL,
    http_response_code     int,
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL
);

-- Not in CREATE TABLE: a database of an earlier version has the table without them.
ALTER TABLE cartodb_local.imports
    DROP COLUMN IF EXISTS warnings,
    ADD COLUMN IF NOT EXISTS runner_warnings jsonb;

CREATE TABLE IF NOT EXISTS cartodb_local.synchronizations (
    id                     uuid PRIMARY KEY,
    name                   text, -- of the table; until there is one, the requested name
    table_oid              oid,
    interval_s             int NOT NULL,
    url                    text,
    connector              jsonb,
    state                  text NOT NULL DEFAULT 'created' CHECK (state IN
                           ('created', 'queued', 'syncing', 'success', 'failure')),
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL,
    run_at                 timestamptz NOT NULL,
    ran_at                 timestamptz NOT NULL,
    modified_at            timestamptz,
    etag                   text,
    modified               text,
    checksum               text NOT NULL DEFAULT '',
    log_id                 uuid NOT NULL,
    error_code             int,
    error_message          text,
    retried_times          int NOT NULL DEFAULT 0,
    service_name           text,
    service_item_id        text,
    type_guessing          boolean NOT NULL,
    quoted_fields_guessing boolean NOT NULL,
    content_guessing       boolean NOT NULL,
    create_vis             boolean NOT NULL DEFAULT false,
    visualization_id       text,
    from_external_source   boolean NOT NULL DEFAULT false
);

ALTER TABLE cartodb_local.synchronizations DROP COLUMN IF EXISTS table_name;

-- Bring synchronizations up to date with their tables: they take a new name of theirs along, and go with them.
CREATE OR REPLACE FUNCTION cartodb_local.follow_tables() RETURNS void
LANGUAGE sql SET search_path = pg_catalog AS $$
    UPDATE cartodb_local.synchronizations s SET name = c.relname FROM pg_class c
    WHERE c.oid = s.table_oid AND s.name <> c.relname;
    DELETE FROM cartodb_local.synchronizations s
    WHERE table_oid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.table_oid);
$$;
REVOKE ALL ON FUNCTION cartodb_local.follow_tables() FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA cartodb_local FROM PUBLIC;
