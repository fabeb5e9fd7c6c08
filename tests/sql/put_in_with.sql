-- INSERT ... SELECT in WITH whose rows go to other shards than those they are read from.
WITH s AS (INSERT INTO refunds (customer_id, id) SELECT g, 1 FROM generate_series(1, 3) g RETURNING *) SELECT count(*) FROM s;
WITH s AS (INSERT INTO refunds (customer_id, id) SELECT g + 1, 2 FROM generate_series(21, 23) g RETURNING refunds.*) SELECT * FROM (SELECT * FROM s) x;
WITH s AS (INSERT INTO refunds (customer_id, id) SELECT customer_id + 100, 3 FROM customers RETURNING *) SELECT count(*), sum(customer_id) FROM s;
WITH s AS (INSERT INTO refunds (customer_id, id, amount) SELECT g, 4, 1.10 FROM generate_series(31, 33) g RETURNING customer_id AS k, amount * 2 AS twice) SELECT k, twice FROM s WHERE k > 31;
WITH s AS (INSERT INTO refunds (customer_id, id) SELECT g, 5 FROM generate_series(41, 43) g) SELECT 1;
WITH s AS (INSERT INTO refunds (customer_id, id) SELECT g, 6 FROM generate_series(1, 0) g RETURNING *) SELECT count(*) FROM s;
WITH s AS (INSERT INTO refunds (customer_id, id) SELECT g, 7 FROM generate_series(1, 3) g RETURNING *) UPDATE customers c SET credit = 7 FROM s WHERE s.customer_id = c.customer_id RETURNING c.customer_id, c.credit;
WITH s AS (INSERT INTO refunds (customer_id, id) SELECT g, 8 FROM generate_series(1, 3) g RETURNING *), t AS (INSERT INTO k_int4 SELECT customer_id + 1, id FROM s RETURNING *) SELECT * FROM t;
WITH s AS (INSERT INTO customers (customer_id, name) SELECT g, 'again' FROM generate_series(1, 3) g ON CONFLICT (customer_id) DO UPDATE SET name = excluded.name RETURNING customer_id, name) SELECT * FROM s;
WITH s AS (INSERT INTO customers (customer_id, name) SELECT g, 'again' FROM generate_series(1, 3) g RETURNING customer_id, name) SELECT * FROM s;
WITH s AS (INSERT INTO refunds (customer_id, id) SELECT g, 9 FROM generate_series(1, 3) g RETURNING *) SELECT 1 / (count(*) - 3) FROM s;
SELECT count(*) FROM refunds WHERE id = 9;
-- As PostgREST asks it.
WITH pgrst_source AS (INSERT INTO "public"."refunds" ("customer_id", "id", "amount") SELECT "customer_id", "id", "amount" FROM json_to_recordset('[{"customer_id":301,"id":10,"amount":2.50},{"customer_id":302,"id":10},{"customer_id":304,"id":10}]') AS _("customer_id" bigint, "id" bigint, "amount" numeric) RETURNING "public"."refunds".*) SELECT '' AS total_result_set, pg_catalog.count(_postgrest_t) AS page_total, array[]::text[] AS header, coalesce(json_agg(_postgrest_t), '[]')::character varying AS body FROM (SELECT * FROM pgrst_source) _postgrest_t;
-- parameters [{"customer_id":305,"id":10,"amount":2.50},{"customer_id":306,"id":10}]
WITH pgrst_source AS (INSERT INTO "public"."refunds" ("customer_id", "id", "amount") SELECT "customer_id", "id", "amount" FROM json_to_recordset($1::json) AS _("customer_id" bigint, "id" bigint, "amount" numeric) RETURNING "public"."refunds".*) SELECT '' AS total_result_set, pg_catalog.count(_postgrest_t) AS page_total, coalesce(json_agg(_postgrest_t), '[]')::character varying AS body FROM (SELECT * FROM pgrst_source) _postgrest_t;
-- The rest of the statement sees the table as it was, which it would not here.
-- refused 0A000
WITH s AS (INSERT INTO refunds (customer_id, id) SELECT g, 11 FROM generate_series(1, 3) g RETURNING *) SELECT count(*), (SELECT count(*) FROM refunds) FROM s;
SELECT * FROM refunds;
