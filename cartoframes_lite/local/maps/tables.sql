-- Templates of named maps. json, not jsonb, to preserve the order of the members.
CREATE TABLE IF NOT EXISTS cartodb_local.map_templates (
    name       text PRIMARY KEY,
    template   json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

REVOKE ALL ON cartodb_local.map_templates FROM PUBLIC;
