-- Numbers that are unique over all shards, drawn by each for itself. Safe to repeat; {slot} is the shard's place in the
-- configuration, from 0.

BEGIN;
SET LOCAL search_path = pg_catalog;
SET LOCAL check_function_bodies = on;
-- The same lock as for pgbraid.bucket: two who install at the same time would meet in the catalog.
SELECT pg_advisory_xact_lock(31638869915036004);

CREATE SCHEMA IF NOT EXISTS pgbraid;
GRANT USAGE ON SCHEMA pgbraid TO PUBLIC;

-- Sets a sequence whose steps leave room for other shards: to the first number of this shard's own that the value lets
-- through. Its own are those that its START has: START, START + INCREMENT, ... A value out of bounds, and a sequence that is
-- at its end, are what setval makes of them.
CREATE OR REPLACE FUNCTION pgbraid.setval(seq regclass, value bigint, called boolean DEFAULT true) RETURNS bigint
LANGUAGE sql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT CASE
        WHEN value NOT BETWEEN s.seqmin AND s.seqmax THEN pg_catalog.setval(seq, value, called)
        WHEN n.next BETWEEN s.seqmin AND s.seqmax
            THEN CASE WHEN pg_catalog.setval(seq, n.next::bigint, false) IS NOT NULL THEN value END
        WHEN pg_catalog.setval(seq, (n.next - s.seqincrement)::bigint, true) IS NOT NULL THEN value END
    FROM pg_catalog.pg_sequence s
    CROSS JOIN LATERAL (SELECT value::numeric + CASE WHEN NOT called THEN 0 ELSE pg_catalog.sign(s.seqincrement::numeric) END) f(first)
    CROSS JOIN LATERAL (SELECT CASE WHEN s.seqincrement > 0
        THEN f.first + pg_catalog.mod(pg_catalog.mod(s.seqstart - f.first, s.seqincrement) + s.seqincrement, s.seqincrement)
        ELSE f.first - pg_catalog.mod(pg_catalog.mod(f.first - s.seqstart, -s.seqincrement::numeric) - s.seqincrement, -s.seqincrement::numeric) END) n(next)
    WHERE s.seqrelid = seq;
END;

CREATE SEQUENCE IF NOT EXISTS pgbraid.ids AS integer MINVALUE 0 MAXVALUE 4095 CYCLE;

-- A number that no shard gives twice and that grows with time: 41 bits of milliseconds since 2024, 10 of the shard, 12 that
-- count. It relies on a clock that is not set back, and on fewer than 4,096 numbers a millisecond on one shard.
CREATE OR REPLACE FUNCTION pgbraid.unique_id() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT (((EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint - 1704067200000) << 22)
        | (({slot} & 1023)::bigint << 12) | pg_catalog.nextval('pgbraid.ids'::regclass);
END;

COMMIT;
