-- The bucket of a key, on the shard: the same function as `Key::bucket` of the crate `shardmap`, bit for bit.
--
--     SELECT pgbraid.bucket(customer_id), count(*) FROM orders GROUP BY 1;
--
-- bucket = the upper 12 bits of XXH64 with seed 0 over the key's canonical bytes: a bigint's 8 bytes little-endian, a text's
-- UTF-8, a uuid's 16 bytes. Narrower integers and varchar arrive here by PostgreSQL's implicit casts. So does char(n): its
-- cast to text takes the padding off, which is what is wanted. Source: xxHash, doc/xxhash_spec.md, "XXH64 algorithm".
--
-- Safe to repeat. Needs PostgreSQL 14 and CREATE on the database, no extension, no superuser.
--
-- The bodies of the helpers in SQL are parsed here and now, and those in PL/pgSQL use qualified functions and no operator: a
-- caller's search_path changes nothing. PL/pgSQL holds intermediate results in variables, so that the planner inlines the
-- helpers: one that is given an expression instead is called, which costs ten times as much. A bigint takes about 4
-- microseconds, a uuid or a short text 13. The long numbers are the specification's five primes as signed numbers, and the
-- sums and differences of them that an empty hash starts with.

BEGIN;
SET LOCAL search_path = pg_catalog;
SET LOCAL check_function_bodies = on;
-- Two who install at the same time would meet in pg_proc. The number is the ASCII of 'pgbraid' read as a number.
SELECT pg_advisory_xact_lock(31638869915036004);

CREATE SCHEMA IF NOT EXISTS pgbraid;
GRANT USAGE ON SCHEMA pgbraid TO PUBLIC;

-- a + b modulo 2^64: bigint's own + refuses to overflow. By halves, the carry in between.
CREATE OR REPLACE FUNCTION pgbraid.xxh64_add(a bigint, b bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (((a >> 32) + (b >> 32) + (((a & 4294967295) + (b & 4294967295)) >> 32)) << 32)
    | (((a & 4294967295) + (b & 4294967295)) & 4294967295);

-- a * b modulo 2^64: by limbs of 22, 22 and 20 bits, whose products fit; what is shifted out at the top is not needed.
CREATE OR REPLACE FUNCTION pgbraid.xxh64_mul(a bigint, b bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (((a & 4194303) * (b & 4194303)) & 4194303)
    | ((((a & 4194303) * ((b >> 22) & 4194303) + ((a >> 22) & 4194303) * (b & 4194303)
        + (((a & 4194303) * (b & 4194303)) >> 22)) & 4194303) << 22)
    | (((a & 4194303) * ((b >> 44) & 1048575) + ((a >> 22) & 4194303) * ((b >> 22) & 4194303)
        + ((a >> 44) & 1048575) * (b & 4194303)
        + (((a & 4194303) * ((b >> 22) & 4194303) + ((a >> 22) & 4194303) * (b & 4194303)
            + (((a & 4194303) * (b & 4194303)) >> 22)) >> 22)) << 44);

-- The bits of x moved left, those that fall out coming in on the right; n from 1 to 63.
CREATE OR REPLACE FUNCTION pgbraid.xxh64_rotate(x bigint, n integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (x << n) | ((x >> (64 - n)) & ((1::bigint << n) - 1));

-- The upper n bits of x, as a number; n from 1 to 63.
CREATE OR REPLACE FUNCTION pgbraid.xxh64_top(x bigint, n integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (x >> (64 - n)) & ((1::bigint << n) - 1);

-- x XOR (x moved right by n bits, zeros coming in on the left); n from 1 to 63.
CREATE OR REPLACE FUNCTION pgbraid.xxh64_fold(x bigint, n integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN x # ((x >> n) & ((1::bigint << (64 - n)) - 1));

-- Four bytes from a place, little-endian.
CREATE OR REPLACE FUNCTION pgbraid.xxh64_read32(bytes bytea, place integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN get_byte(bytes, place)::bigint | (get_byte(bytes, place + 1)::bigint << 8)
    | (get_byte(bytes, place + 2)::bigint << 16) | (get_byte(bytes, place + 3)::bigint << 24);

-- Eight bytes from a place, little-endian.
CREATE OR REPLACE FUNCTION pgbraid.xxh64_read64(bytes bytea, place integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN get_byte(bytes, place)::bigint | (get_byte(bytes, place + 1)::bigint << 8)
    | (get_byte(bytes, place + 2)::bigint << 16) | (get_byte(bytes, place + 3)::bigint << 24)
    | (get_byte(bytes, place + 4)::bigint << 32) | (get_byte(bytes, place + 5)::bigint << 40)
    | (get_byte(bytes, place + 6)::bigint << 48) | (get_byte(bytes, place + 7)::bigint << 56);

-- The specification's round: takes a lane of eight bytes into an accumulator.
CREATE OR REPLACE FUNCTION pgbraid.xxh64_round(accumulator bigint, lane bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    lane := pgbraid.xxh64_mul(lane, -4417276706812531889);
    accumulator := pgbraid.xxh64_add(accumulator, lane);
    accumulator := pgbraid.xxh64_rotate(accumulator, 31);
    RETURN pgbraid.xxh64_mul(accumulator, -7046029288634856825);
END $$;

-- The specification's merge of an accumulator into the hash; also what it does with each lane at the end.
CREATE OR REPLACE FUNCTION pgbraid.xxh64_merge(hash bigint, lane bigint, turn integer) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    lane := pgbraid.xxh64_round(0, lane);
    hash := pg_catalog.int8xor(hash, lane);
    IF pg_catalog.int4ne(turn, 0) THEN
        hash := pgbraid.xxh64_rotate(hash, turn);
    END IF;
    hash := pgbraid.xxh64_mul(hash, -7046029288634856825);
    RETURN pgbraid.xxh64_add(hash, -8796714831421723037);
END $$;

-- XXH64 with seed 0 of any bytes, as the bigint of the same 64 bits.
CREATE OR REPLACE FUNCTION pgbraid.xxh64(bytes bytea) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
DECLARE
    len integer := pg_catalog.octet_length(bytes);
    place integer := 0;
    hash bigint := 2870177450012600261;
    lane bigint;
    v1 bigint := 6983438078262162902;
    v2 bigint := -4417276706812531889;
    v3 bigint := 0;
    v4 bigint := 7046029288634856825;
BEGIN
    IF pg_catalog.int4ge(len, 32) THEN
        FOR stripe IN 1 .. pg_catalog.int4div(len, 32) LOOP
            v1 := pgbraid.xxh64_round(v1, pgbraid.xxh64_read64(bytes, place));
            v2 := pgbraid.xxh64_round(v2, pgbraid.xxh64_read64(bytes, pg_catalog.int4pl(place, 8)));
            v3 := pgbraid.xxh64_round(v3, pgbraid.xxh64_read64(bytes, pg_catalog.int4pl(place, 16)));
            v4 := pgbraid.xxh64_round(v4, pgbraid.xxh64_read64(bytes, pg_catalog.int4pl(place, 24)));
            place := pg_catalog.int4pl(place, 32);
        END LOOP;
        hash := pgbraid.xxh64_rotate(v1, 1);
        hash := pgbraid.xxh64_add(hash, pgbraid.xxh64_rotate(v2, 7));
        hash := pgbraid.xxh64_add(hash, pgbraid.xxh64_rotate(v3, 12));
        hash := pgbraid.xxh64_add(hash, pgbraid.xxh64_rotate(v4, 18));
        hash := pgbraid.xxh64_merge(hash, v1, 0);
        hash := pgbraid.xxh64_merge(hash, v2, 0);
        hash := pgbraid.xxh64_merge(hash, v3, 0);
        hash := pgbraid.xxh64_merge(hash, v4, 0);
    END IF;
    hash := pgbraid.xxh64_add(hash, len);
    FOR word IN 1 .. pg_catalog.int4div(pg_catalog.int4mod(len, 32), 8) LOOP
        hash := pgbraid.xxh64_merge(hash, pgbraid.xxh64_read64(bytes, place), 27);
        place := pg_catalog.int4pl(place, 8);
    END LOOP;
    IF pg_catalog.int4ge(pg_catalog.int4mod(len, 8), 4) THEN
        lane := pgbraid.xxh64_read32(bytes, place);
        lane := pgbraid.xxh64_mul(lane, -7046029288634856825);
        hash := pg_catalog.int8xor(hash, lane);
        hash := pgbraid.xxh64_rotate(hash, 23);
        hash := pgbraid.xxh64_mul(hash, -4417276706812531889);
        hash := pgbraid.xxh64_add(hash, 1609587929392839161);
        place := pg_catalog.int4pl(place, 4);
    END IF;
    FOR byte IN 1 .. pg_catalog.int4mod(len, 4) LOOP
        lane := pg_catalog.get_byte(bytes, place);
        lane := pgbraid.xxh64_mul(lane, 2870177450012600261);
        hash := pg_catalog.int8xor(hash, lane);
        hash := pgbraid.xxh64_rotate(hash, 11);
        hash := pgbraid.xxh64_mul(hash, -7046029288634856825);
        place := pg_catalog.int4pl(place, 1);
    END LOOP;
    hash := pgbraid.xxh64_fold(hash, 33);
    hash := pgbraid.xxh64_mul(hash, -4417276706812531889);
    hash := pgbraid.xxh64_fold(hash, 29);
    hash := pgbraid.xxh64_mul(hash, 1609587929392839161);
    RETURN pgbraid.xxh64_fold(hash, 32);
END $$;

-- XXH64 of eight bytes without making bytes of them: the common case.
CREATE OR REPLACE FUNCTION pgbraid.bucket(key bigint) RETURNS integer
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
DECLARE
    hash bigint;
BEGIN
    hash := pgbraid.xxh64_mul(key, -4417276706812531889);
    hash := pgbraid.xxh64_rotate(hash, 31);
    hash := pgbraid.xxh64_mul(hash, -7046029288634856825);
    hash := pg_catalog.int8xor(hash, 2870177450012600269);
    hash := pgbraid.xxh64_rotate(hash, 27);
    hash := pgbraid.xxh64_mul(hash, -7046029288634856825);
    hash := pgbraid.xxh64_add(hash, -8796714831421723037);
    hash := pgbraid.xxh64_fold(hash, 33);
    hash := pgbraid.xxh64_mul(hash, -4417276706812531889);
    hash := pgbraid.xxh64_fold(hash, 29);
    hash := pgbraid.xxh64_mul(hash, 1609587929392839161);
    -- The last fold, by 32 bits, leaves the upper 32 as they are.
    RETURN pgbraid.xxh64_top(hash, 12);
END $$;

CREATE OR REPLACE FUNCTION pgbraid.bucket(key text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
DECLARE
    hash bigint := pgbraid.xxh64(pg_catalog.convert_to(key, 'UTF8'));
BEGIN
    RETURN pgbraid.xxh64_top(hash, 12);
END $$;

CREATE OR REPLACE FUNCTION pgbraid.bucket(key uuid) RETURNS integer
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
DECLARE
    hash bigint := pgbraid.xxh64(pg_catalog.uuid_send(key));
BEGIN
    RETURN pgbraid.xxh64_top(hash, 12);
END $$;

COMMENT ON FUNCTION pgbraid.bucket(bigint) IS 'The bucket (0-4095) of an integer key, as pgbraid routes it';
COMMENT ON FUNCTION pgbraid.bucket(text) IS 'The bucket (0-4095) of a text key, as pgbraid routes it';
COMMENT ON FUNCTION pgbraid.bucket(uuid) IS 'The bucket (0-4095) of a uuid key, as pgbraid routes it';

COMMIT;
