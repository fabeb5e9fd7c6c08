-- What shards hold so that several of them commit as one. Safe to repeat. Needs CREATE on the database and, if the schema is
-- there, its ownership; no extension, no superuser.

BEGIN;
SET LOCAL search_path = pg_catalog;
SET LOCAL check_function_bodies = on;
-- The same lock as for pgbraid.bucket: two who install at the same time would meet in the catalog.
SELECT pg_advisory_xact_lock(31638869915036004);

CREATE SCHEMA IF NOT EXISTS pgbraid;
GRANT USAGE ON SCHEMA pgbraid TO PUBLIC;

-- Which cluster this database is a shard of: its id is part of the names of prepared transactions.
CREATE TABLE IF NOT EXISTS pgbraid.cluster (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    id text NOT NULL CHECK (id <> '' AND id !~ ':')
);
GRANT SELECT ON pgbraid.cluster TO PUBLIC;

-- What became of transactions that wrote on several shards and whose decision shard this is. A row that says committed becomes
-- visible with the transaction's own commit here; one that does not says that nobody may commit it any more.
CREATE TABLE IF NOT EXISTS pgbraid.decision (
    txn text PRIMARY KEY,
    committed boolean NOT NULL,
    decided timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Called in a client's transaction, under the client's role, which needs no right on the table. Anybody may call it, and decides
-- nothing but transactions whose secret he knows: names, which all can see in pg_prepared_xacts, end with its hash. The decision
-- must be on disk before another shard commits, whatever the client thinks of durability.
DROP FUNCTION IF EXISTS pgbraid.decide(text);
CREATE OR REPLACE FUNCTION pgbraid.decide(txn text, secret text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.set_config('synchronous_commit', 'on', true)
    WHERE pg_catalog.current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
    INSERT INTO pgbraid.decision (txn, committed) VALUES (decide.txn || '.' || pg_catalog.substr(
        pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(decide.secret, 'UTF8')), 'hex'), 1, 32), true);
END;

-- On the home shard: which servers work for clients of each gateway that wait for a lock, so that gateways together see who waits
-- for himself in a circle over several shards. Of no use after a crash, hence not logged.
CREATE UNLOGGED TABLE IF NOT EXISTS pgbraid.waiting (
    gateway text PRIMARY KEY,
    clients integer[] NOT NULL,
    shards text[] NOT NULL,
    processes integer[] NOT NULL,
    seen timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One snapshot over all shards: who takes one holds this lock on every shard for the moment, and who commits on several shards
-- holds it, shared, on one of them from before the decision until all have committed. Another number of the same kind as above.
-- Prepared transactions of the cluster are returned: what is prepared and decided is half visible, because its gateway died.
CREATE OR REPLACE FUNCTION pgbraid.in_doubt() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.string_agg(p.gid, E'\n') FROM pg_catalog.pg_prepared_xacts p, pgbraid.cluster c
    WHERE pg_catalog.starts_with(p.gid, 'pgbraid:' || c.id || ':') AND p.database = pg_catalog.current_database();
END;

CREATE OR REPLACE FUNCTION pgbraid.hold() RETURNS text
LANGUAGE sql VOLATILE SET lock_timeout = '30s' SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.pg_advisory_lock(31638869915036005);
    SELECT pgbraid.in_doubt();
END;

-- Whether one of these transactions is committed as the caller's snapshot sees it.
CREATE OR REPLACE FUNCTION pgbraid.decided(txns text[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT EXISTS (SELECT FROM pgbraid.decision d WHERE d.txn = ANY (txns) AND d.committed);
END;

-- What materialized views made through the gateway read while it refreshes them: the table where it has put their rows, which only that
-- transaction sees.
CREATE OR REPLACE FUNCTION pgbraid.refreshed() RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rows_table regclass := to_regclass(nullif(current_setting('pgbraid.refreshed', true), ''));
BEGIN
    IF rows_table IS NULL THEN
        RAISE EXCEPTION 'this materialized view is refreshed through the gateway'
            USING ERRCODE = 'feature_not_supported', HINT = 'REFRESH sees one shard''s rows only; connect to pgbraid.';
    END IF;
    RETURN QUERY EXECUTE format('SELECT * FROM %s', rows_table);
END
$$;

COMMIT;
