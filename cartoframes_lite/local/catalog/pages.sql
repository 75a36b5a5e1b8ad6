-- Not in CREATE TABLE: databases of earlier versions have a table without the type "app".
ALTER TABLE cartodb_local.visualizations
    DROP CONSTRAINT IF EXISTS visualizations_type_check,
    ADD CONSTRAINT visualizations_type_check CHECK (type IN ('table', 'derived', 'slide', 'kuviz', 'app'));

-- Content of published pages (types "kuviz" and "app"), whose names are unique.
CREATE TABLE IF NOT EXISTS cartodb_local.page_contents (
    visualization_id uuid PRIMARY KEY REFERENCES cartodb_local.visualizations ON DELETE CASCADE,
    html             bytea NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS published_names ON cartodb_local.visualizations (type, name)
WHERE type IN ('kuviz', 'app');

-- What the tables API says of the tables of datasets; "tags" are separated by commas.
CREATE TABLE IF NOT EXISTS cartodb_local.table_details (
    dataset_id  uuid PRIMARY KEY REFERENCES cartodb_local.visualizations ON DELETE CASCADE,
    description text,
    tags        text
);

REVOKE ALL ON ALL TABLES IN SCHEMA cartodb_local FROM PUBLIC;
