-- State of the account. No role of an API key has access to this schema.
CREATE SCHEMA IF NOT EXISTS cartodb_local;
REVOKE ALL ON SCHEMA cartodb_local FROM PUBLIC;

CREATE TABLE IF NOT EXISTS cartodb_local.account (
    is_the_one  boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    owner_role  name NOT NULL,
    quota_bytes bigint NOT NULL DEFAULT 1099511627776
);

CREATE TABLE IF NOT EXISTS cartodb_local.api_keys (
    name       text PRIMARY KEY,
    token      text NOT NULL UNIQUE,
    kind       text NOT NULL CHECK (kind IN ('master', 'default', 'regular')),
    role       name NOT NULL,
    grants     jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

REVOKE ALL ON ALL TABLES IN SCHEMA cartodb_local FROM PUBLIC;

-- Delete all rows in this schema except the account, the master key and the default key.
CREATE OR REPLACE FUNCTION cartodb_local.delete_state() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    used regclass;
    is_used boolean;
BEGIN
    DELETE FROM cartodb_local.api_keys WHERE kind = 'regular';
    FOR used IN
        SELECT oid FROM pg_class
        WHERE relnamespace = 'cartodb_local'::regnamespace AND relkind = 'r' AND relname NOT IN ('account', 'api_keys')
    LOOP
        -- TRUNCATE creates new files even for an empty table; for all tables that would take most of the time.
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', used) INTO is_used;
        IF is_used THEN
            EXECUTE format('TRUNCATE %s CASCADE', used); -- referencing tables are also in this schema
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION cartodb_local.delete_state() FROM PUBLIC;

-- Drop all user objects in the database, whoever owns them, and large objects. Objects of extensions and the schemas of
-- this server are kept.
CREATE OR REPLACE FUNCTION cartodb_local.drop_user_objects() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace n
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public', 'cartodb', 'cartodb_local')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
                          AND d.objid = n.oid AND d.deptype = 'e')
          AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = n.oid)
    LOOP
        EXECUTE statement;
    END LOOP;
    -- IF EXISTS: a CASCADE may have dropped the object already.
    FOR statement IN
        SELECT format('DROP %s IF EXISTS public.%I CASCADE', CASE relkind WHEN 'v' THEN 'VIEW'
                      WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE'
                      ELSE 'TABLE' END, relname)
        FROM pg_class c
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                          AND d.objid = c.oid AND d.deptype = 'e')
        UNION ALL
        SELECT format('DROP TYPE IF EXISTS public.%I CASCADE', typname) FROM pg_type t
        WHERE typnamespace = 'public'::regnamespace AND typcategory <> 'A' AND (typtype IN ('b', 'd', 'e', 'r')
               OR typtype = 'c' AND (SELECT relkind = 'c' FROM pg_class WHERE oid = typrelid))
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
                          AND d.objid = t.oid AND d.deptype IN ('e', 'i'))
        UNION ALL
        SELECT format('DROP ROUTINE IF EXISTS public.%I(%s) CASCADE', proname,
                      pg_get_function_identity_arguments(p.oid))
        FROM pg_proc p
        WHERE pronamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                          AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
    LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
END
$$;
REVOKE ALL ON FUNCTION cartodb_local.drop_user_objects() FROM PUBLIC;

-- Digest of all privileges in the database, and of everything that depends on some roles: objects that they own, and
-- privileges, policies and default privileges that refer to them.
CREATE OR REPLACE FUNCTION cartodb_local.rights(roles name[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT md5(string_agg(concat_ws(' ', catalog, object, part, acl), ',' ORDER BY catalog, object, part, acl))
    FROM (
        SELECT d.classid AS catalog, d.objid AS object, d.objsubid AS part, concat_ws(' ', d.deptype, r.rolname) AS acl
        FROM pg_shdepend d JOIN pg_authid r ON d.refclassid = 'pg_authid'::regclass AND r.oid = d.refobjid
        WHERE r.rolname = ANY (roles)
          AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        UNION ALL
        SELECT tableoid, oid, 0, datacl::text FROM pg_database WHERE datname = current_database()
        UNION ALL
        SELECT tableoid, oid, 0, nspacl::text FROM pg_namespace WHERE nspacl IS NOT NULL
        UNION ALL
        SELECT tableoid, oid, 0, proacl::text FROM pg_proc WHERE proacl IS NOT NULL
        UNION ALL
        SELECT tableoid, oid, 0, relacl::text FROM pg_class WHERE relacl IS NOT NULL
        UNION ALL
        SELECT tableoid, attrelid, attnum, attacl::text FROM pg_attribute WHERE attacl IS NOT NULL
        UNION ALL
        SELECT tableoid, oid, 0, typacl::text FROM pg_type WHERE typacl IS NOT NULL
        UNION ALL
        SELECT tableoid, oid, 0, lanacl::text FROM pg_language WHERE lanacl IS NOT NULL
        UNION ALL
        SELECT tableoid, oid, 0, concat_ws(' ', defaclrole, defaclnamespace, defaclobjtype, defaclacl)
        FROM pg_default_acl
    ) AS rights
$$;
REVOKE ALL ON FUNCTION cartodb_local.rights(name[]) FROM PUBLIC;
