-- What the owner of the account has changed of the account: profile, e-mail address and password.
CREATE TABLE IF NOT EXISTS cartodb_local.profile (
    is_the_one    boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    details       jsonb NOT NULL DEFAULT '{}',
    password_hash text, -- NULL: the master key is the password
    updated_at    timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE cartodb_local.visualizations
    ADD COLUMN IF NOT EXISTS acl_updated_at timestamptz;

-- Viewers have no storage.
ALTER TABLE cartodb_local.members
    DROP CONSTRAINT IF EXISTS members_quota_in_bytes_check,
    ADD CONSTRAINT members_quota_in_bytes_check CHECK (quota_in_bytes >= 0);

-- Groups of members; tables are shared with them by grants to their roles.
CREATE TABLE IF NOT EXISTS cartodb_local.groups (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name         text NOT NULL UNIQUE,
    display_name text NOT NULL UNIQUE,
    role         name NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
-- "user_id" is that of a member or of the account.
CREATE TABLE IF NOT EXISTS cartodb_local.group_users (
    group_id uuid NOT NULL REFERENCES cartodb_local.groups ON DELETE CASCADE,
    user_id  uuid NOT NULL,
    PRIMARY KEY (group_id, user_id)
);

REVOKE ALL ON ALL TABLES IN SCHEMA cartodb_local FROM PUBLIC;
