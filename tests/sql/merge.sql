-- MERGE into sharded tables whose rows belong to several shards.
MERGE INTO refunds r USING (VALUES (1, 1, 5.5), (2, 9001, 6), (3, 9001, 7), (4, NULL, 8)) v(c, i, a) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN UPDATE SET amount = v.a WHEN NOT MATCHED THEN INSERT (customer_id, id, amount) VALUES (v.c, v.i, v.a);
MERGE INTO orders o USING (VALUES (1, 1), (2, 9002), (3, 9003)) v(c, i) ON o.customer_id = v.c AND o.id = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (customer_id, id, status, ts) VALUES (v.c, v.i, 'new', '2026-01-02 03:04:05Z');
MERGE INTO orders o USING products p ON o.id = p.id AND o.customer_id < 3 WHEN MATCHED AND o.total > 5 THEN UPDATE SET note = p.name WHEN NOT MATCHED AND p.price > 1 THEN INSERT (customer_id, id, note) VALUES (p.id + 4, 9100 + p.id, p.name);
MERGE INTO orders o USING settings s ON o.note = s.value WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (customer_id, id, note) VALUES (5, length(s.key), s.value);
MERGE INTO refunds r USING orders o ON r.id = o.id AND r.customer_id = o.customer_id + 1 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (o.customer_id + 1, o.id, o.total);
MERGE INTO refunds r USING (SELECT id, max(customer_id) AS c, sum(total) AS t FROM orders GROUP BY id) o ON r.id = o.id WHEN MATCHED AND r.amount > 100 THEN DO NOTHING WHEN MATCHED THEN UPDATE SET amount = o.t WHEN NOT MATCHED AND o.c IS NULL THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (customer_id, id, amount) VALUES (o.c, o.id, o.t);
MERGE INTO customers c USING (SELECT DISTINCT o.id + 500 AS k, o.status FROM orders o LEFT JOIN items i ON i.order_id = o.id WHERE o.customer_id = 2) s ON c.customer_id = s.k WHEN NOT MATCHED AND s.status = 'new' THEN INSERT (customer_id, name) VALUES (s.k, 'n') WHEN NOT MATCHED AND s.status IS NOT NULL THEN INSERT (name, customer_id, vip) VALUES (s.status, s.k + 1000, true);
-- Two rows of the source for one: of the target, an error; of none, both are inserted.
MERGE INTO orders o USING (VALUES (1, 2), (1, 2), (2, 2)) v(c, i) ON o.customer_id = v.c AND o.id = v.i WHEN MATCHED THEN UPDATE SET note = 'twice' WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i);
MERGE INTO orders o USING (VALUES (1, 9200), (1, 9200), (2, 9201)) v(c, i) ON o.customer_id = v.c AND o.id = v.i WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i);
MERGE INTO refunds o USING (VALUES (1, 9200), (1, 9200), (2, 9201)) v(c, i) ON o.customer_id = v.c AND o.id = v.i WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i);
-- Conditions are not evaluated for rows that match.
MERGE INTO refunds r USING (VALUES (1, 9200, 0), (2, 9300, 2)) v(c, i, d) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED AND 10 / v.d > 1 THEN INSERT (customer_id, id, amount) VALUES (v.c, v.i, 10 / v.d);
MERGE INTO refunds r USING (VALUES (1, 9400, 0), (2, 9401, 2)) v(c, i, d) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED AND 10 / v.d > 1 THEN INSERT (customer_id, id, amount) VALUES (v.c, v.i, 10 / v.d);
MERGE INTO orders r USING (VALUES (1, 9400, 0), (2, 9401, 2)) v(c, i, d) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED AND (v.d > 0 OR v.c = 1) AND v.i > 0 THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i);
-- A key of another type, of none, of NULL.
MERGE INTO orders o USING (VALUES (1, '9500'), (2, '9501')) v(c, i) ON o.customer_id = v.c AND o.id = v.i::int WHEN NOT MATCHED THEN INSERT (customer_id, id, status) VALUES (v.c, v.i::int, v.i);
MERGE INTO orders o USING (VALUES (1.0, '9502'), (2.4, '9503')) v(c, i) ON o.customer_id = v.c WHEN NOT MATCHED THEN INSERT (customer_id, id, status) VALUES (v.c, 9502, v.i);
-- refused 23502
MERGE INTO refunds o USING (VALUES (1, 2), (NULL, 3)) v(c, i) ON o.customer_id = v.c AND o.id = v.i + 9600 WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i);
MERGE INTO orders o USING (VALUES (1, 'x'), (2, 'y')) v(c, i) ON o.customer_id = v.c AND o.status = v.i WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i);
MERGE INTO k_varchar k USING (VALUES ('a', 1), ('b', 2), ('c', 3)) v(c, i) ON k.customer_id = v.c WHEN MATCHED THEN UPDATE SET v = i WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i);
MERGE INTO k_char k USING (VALUES ('a', 1), ('b ', 2), ('c', 3)) v(c, i) ON k.customer_id = v.c WHEN MATCHED THEN UPDATE SET v = i WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i);
MERGE INTO k_uuid k USING (SELECT md5(g::text)::uuid AS u, g FROM generate_series(1, 9) g) v ON k.customer_id = v.u WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (u, g);
-- The rows of the whole statement are those from before it.
MERGE INTO refunds r USING refunds s ON r.customer_id = s.customer_id + 1 AND r.id = s.id WHEN MATCHED THEN UPDATE SET amount = r.amount + s.amount WHEN NOT MATCHED AND s.customer_id < 4 THEN INSERT VALUES (s.customer_id + 1, s.id, s.amount);
MERGE INTO refunds r USING (VALUES (1, 1), (2, 9700)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN UPDATE SET amount = (SELECT count(*) FROM refunds) WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, (SELECT count(*) FROM orders));
MERGE INTO refunds r USING (VALUES (1, 1), (2, 9701)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN UPDATE SET amount = 1 WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, (SELECT count(*) FROM refunds));
MERGE INTO refunds r USING (VALUES (1, 9702), (2, 9703)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, (SELECT count(*) FROM refunds));
MERGE INTO orders o USING (VALUES (1, 1), (2, 9800)) v(c, i) ON o.customer_id = v.c AND o.id = v.i AND EXISTS (SELECT 1 FROM customers x WHERE x.customer_id = o.customer_id) WHEN MATCHED THEN UPDATE SET note = (SELECT name FROM customers x WHERE x.customer_id = o.customer_id) WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i);
-- WITH.
WITH w AS (SELECT customer_id + 1 AS k, max(id) AS m FROM orders GROUP BY 1) MERGE INTO refunds r USING w ON r.customer_id = w.k AND r.id = w.m WHEN MATCHED THEN UPDATE SET amount = 0 WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (k, m);
WITH w AS (SELECT customer_id + 1 AS k, max(id) AS m FROM orders GROUP BY 1) MERGE INTO refunds r USING w ON r.customer_id = w.k AND r.id = w.m WHEN MATCHED THEN UPDATE SET amount = (SELECT count(*) FROM w) WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (k, m);
-- Sequences and the time.
CREATE TABLE stamped (customer_id int8, id bigserial, at timestamptz DEFAULT date_trunc('millennium', now()), seen timestamptz, n int4);
CREATE SEQUENCE dense START 100;
MERGE INTO stamped t USING (VALUES (1, 10), (2, 20), (3, 30)) v(c, n) ON t.customer_id = v.c WHEN MATCHED THEN UPDATE SET seen = now(), n = v.n WHEN NOT MATCHED THEN INSERT (customer_id, seen, n) VALUES (v.c, now(), v.n);
MERGE INTO stamped t USING (VALUES (2, 10), (3, 20), (4, 30), (5, 40)) v(c, n) ON t.customer_id = v.c WHEN MATCHED THEN UPDATE SET seen = now(), n = v.n WHEN NOT MATCHED THEN INSERT (customer_id, seen, n) VALUES (v.c, now(), v.n);
SELECT customer_id, at, n, seen = (SELECT max(seen) FROM stamped) FROM stamped;
SELECT count(DISTINCT id) FROM stamped;
UPDATE stamped SET id = customer_id, seen = NULL;
MERGE INTO stamped t USING (VALUES (12, 10), (13, 20)) v(c, n) ON t.customer_id = v.c WHEN NOT MATCHED THEN INSERT (customer_id, id, n) VALUES (v.c, nextval('dense'), v.n);
DROP TABLE stamped;
DROP SEQUENCE dense;
-- Parameters.
-- parameters 1 | 9900 | 2 | 9901
MERGE INTO refunds r USING (VALUES ($1::int8, $2::int8), ($3, $4)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN UPDATE SET amount = v.i WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i);
-- parameters 1 | 9900 | 2 | 77.5
MERGE INTO refunds r USING (SELECT $1::int8 AS c, $2::int8 AS i UNION ALL SELECT $3, 9902) v ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN UPDATE SET amount = $4 WHEN NOT MATCHED THEN INSERT (customer_id, id, amount) VALUES (v.c, v.i, $4 + 1);
-- parameters 5
MERGE INTO orders o USING products p ON p.id = o.id AND o.customer_id = $1 WHEN MATCHED THEN UPDATE SET note = p.name WHEN NOT MATCHED THEN INSERT (customer_id, id, note) VALUES ($1 + p.id, 9950, p.name);
PREPARE m(int8, int8) AS MERGE INTO refunds r USING (VALUES ($1, 1), ($2, 2)) v(c, i) ON r.customer_id = v.c AND r.id = v.i + 9960 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i + 9960, 1);
EXECUTE m(1, 2);
EXECUTE m(2, 2);
DEALLOCATE m;
-- In a block, with errors.
BEGIN;
MERGE INTO refunds r USING (VALUES (1, 9980), (2, 9981), (3, 9982)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, 1);
SAVEPOINT a;
MERGE INTO refunds r USING (VALUES (1, 9980), (4, 9981), (3, 9982)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, 1 / (v.c - 4));
ROLLBACK TO a;
MERGE INTO refunds r USING (VALUES (1, 9980), (4, 9981), (3, 9982)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, 1);
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
MERGE INTO refunds r USING (VALUES (1, 9990), (2, 9991), (3, 9992)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, 1);
COMMIT;
BEGIN READ ONLY;
MERGE INTO refunds r USING (VALUES (1, 9990), (2, 9991), (3, 9992)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, 1);
ROLLBACK;
-- What PostgreSQL refuses itself.
MERGE INTO refunds r USING (VALUES (1, 1), (2, 2)) v(c, i) ON r.customer_id = v.c WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (v.c, v.i);
MERGE INTO refunds r USING (VALUES (1, 1), (2, 2)) v(c, i) ON r.customer_id = v.c WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, r.id);
MERGE INTO refunds r USING (VALUES (1, 1), (2, 2)) v(c, i) ON r.customer_id = v.c WHEN NOT MATCHED THEN INSERT (customer_id, nothing) VALUES (v.c, v.i);
MERGE INTO refunds r USING (VALUES (1, 1), (2, 2)) v(c, i) ON r.customer_id = v.c WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i) WHEN NOT MATCHED THEN DO NOTHING;
MERGE INTO nothing r USING (VALUES (1, 1), (2, 2)) v(c, i) ON r.customer_id = v.c WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i);
-- Foreign keys.
CREATE TABLE parents (customer_id int8 PRIMARY KEY, n int4);
CREATE TABLE children (customer_id int8 REFERENCES parents, n int4 CHECK (n < 100));
MERGE INTO parents p USING (VALUES (1, 1), (2, 2), (3, 3)) v(c, n) ON p.customer_id = v.c WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.n);
MERGE INTO children p USING (VALUES (1, 1), (2, 2), (4, 4)) v(c, n) ON p.customer_id = v.c WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.n);
MERGE INTO children p USING (VALUES (1, 1), (2, 2), (3, 200)) v(c, n) ON p.customer_id = v.c WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.n);
MERGE INTO children p USING (VALUES (1, 1), (2, 2), (3, 3)) v(c, n) ON p.customer_id = v.c WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.n);
MERGE INTO parents p USING (VALUES (3, 1), (4, 2), (5, 3)) v(c, n) ON p.customer_id = v.c WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.n);
DROP TABLE children, parents;
-- Into a reference table, on every shard alike: joined with orders, each shard reads its own copy.
MERGE INTO products p USING (VALUES (1, 'Apple', 0.6), (5, 'fig', 2), (6, 'kiwi', NULL)) v(id, name, price) ON v.id = p.id WHEN MATCHED THEN UPDATE SET name = v.name, price = v.price WHEN NOT MATCHED THEN INSERT (id, name, price) VALUES (v.id, v.name, v.price);
SELECT o.customer_id, count(*), sum(p.price), string_agg(DISTINCT p.name, ',' ORDER BY p.name) FROM orders o JOIN products p ON p.id <> o.customer_id GROUP BY 1 ORDER BY 1;
MERGE INTO products p USING products q ON q.id = p.id + 4 WHEN MATCHED AND q.price > 1 THEN DELETE WHEN MATCHED THEN UPDATE SET price = 77 WHEN NOT MATCHED AND q.id < 3 THEN INSERT VALUES (q.id + 20, q.name);
MERGE INTO products p USING (SELECT id, max(status) AS status, sum(total) AS total FROM orders WHERE id < 8 GROUP BY id) o ON o.id = p.id WHEN MATCHED AND o.total IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET price = o.total WHEN NOT MATCHED THEN INSERT (id, name, price) VALUES (o.id, o.status, o.total);
MERGE INTO products p USING settings s ON s.value = p.name WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (length(s.key) + 50, s.value);
SELECT o.customer_id, count(*), sum(p.price), string_agg(DISTINCT p.name, ',' ORDER BY p.name) FROM orders o JOIN products p ON p.id <> o.customer_id GROUP BY 1 ORDER BY 1;
MERGE INTO products p USING (VALUES (1), (1)) v(id) ON v.id = p.id WHEN MATCHED THEN UPDATE SET name = 'twice';
MERGE INTO products p USING (VALUES (2), (2)) v(id) ON v.id + 500 = p.id WHEN NOT MATCHED THEN INSERT VALUES (v.id + 500, 'twice');
MERGE INTO products p USING (VALUES (2)) v(id) ON v.id = p.id WHEN MATCHED THEN UPDATE SET name = DEFAULT, price = (SELECT count(*) FROM orders) WHEN NOT MATCHED THEN INSERT VALUES (v.id, DEFAULT);
-- refused 0A000
MERGE INTO products p USING (VALUES (2)) v(id) ON v.id = p.id WHEN MATCHED AND random() < 2 THEN UPDATE SET name = 'chance';
-- refused 0A000
MERGE INTO products p USING (VALUES (2)) v(id) ON v.id = p.id WHEN MATCHED THEN UPDATE SET name = clock_timestamp()::text;
SELECT o.customer_id, count(*), sum(p.price), string_agg(DISTINCT p.name, ',' ORDER BY p.name) FROM orders o JOIN products p ON p.id <> o.customer_id GROUP BY 1 ORDER BY 1;
TABLE products ORDER BY id;
