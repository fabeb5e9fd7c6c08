-- Writes to one key, and writes that others get wrong.
INSERT INTO orders VALUES (20, 1, 'new', 1.5, NULL, 'a');
INSERT INTO orders (id, customer_id) VALUES (2, 20);
INSERT INTO orders (customer_id, id, total) VALUES (20, 3, 1.239) RETURNING *;
INSERT INTO orders (customer_id, id) VALUES (20, 4), (20, 5), (20, 6) RETURNING id, customer_id;
INSERT INTO orders (customer_id, id) VALUES (20, 1);
INSERT INTO orders (customer_id, id) VALUES (20, 1) ON CONFLICT DO NOTHING;
INSERT INTO orders (customer_id, id, note) VALUES (20, 1, 'b') ON CONFLICT (customer_id, id) DO UPDATE SET note = excluded.note || orders.note RETURNING note;
INSERT INTO orders (customer_id, id) VALUES (20, NULL);
INSERT INTO orders (customer_id, id) VALUES (NULL, 1);
-- refused 23502
INSERT INTO refunds VALUES (NULL, 1, 1);
-- refused 23502
INSERT INTO refunds (id) VALUES (1);
-- refused 23502
INSERT INTO refunds DEFAULT VALUES;
INSERT INTO orders (customer_id, id) VALUES (10 + 10, 10);
INSERT INTO orders (customer_id, id) VALUES (abs(-20), 11);
INSERT INTO orders (customer_id, id) VALUES ((SELECT 20), 12);
INSERT INTO orders (customer_id, id) VALUES (DEFAULT, 13);
INSERT INTO orders (customer_id, id, status) VALUES (20, 14, DEFAULT);
INSERT INTO orders (customer_id, id, ts) VALUES (20, 15, now()) RETURNING id;
UPDATE orders SET ts = '2026-02-01 00:00:00+00' WHERE customer_id = 20 AND id = 15;
INSERT INTO orders (customer_id, id, total) VALUES (20, 7 + 9, 3 * 2.5) RETURNING id, total;
INSERT INTO orders (customer_id, id) VALUES ('20', '17');
INSERT INTO orders (customer_id, id) VALUES (20.0, 18);
INSERT INTO orders (customer_id, id) VALUES (20.4, 19);
INSERT INTO orders AS o (customer_id, id) VALUES (20, 1) ON CONFLICT (customer_id, id) DO UPDATE SET note = 'again' WHERE o.id = 1;
-- parameters 20 | 20
INSERT INTO orders (customer_id, id) VALUES ($1, $2) RETURNING id;
-- parameters 20 | 21
INSERT INTO orders (id, customer_id) VALUES ($2, $1);
-- parameters 20 | 22
INSERT INTO orders (customer_id, id) VALUES ($1, $2), ($1, 23);
-- parameters null | 22
INSERT INTO orders (customer_id, id) VALUES ($1, $2);
-- A key must not be NULL, whatever the table allows: such a row would have no shard.
-- Rows of several keys.
INSERT INTO refunds VALUES (1, 100, 1), (2, 100, 1), (3, 100, 1), (4, 100, 1), (5, 100, 1);
-- parameters 1 | 2 | 3 | 4
INSERT INTO refunds VALUES ($1, 101, 1), ($2, 101, 1), ($3, 101, 1), ($4, 101, 1);
INSERT INTO refunds VALUES (1, 102, 1), (2, 102, 1) RETURNING customer_id;
INSERT INTO refunds SELECT customer_id, id, total FROM orders WHERE customer_id = 20;
INSERT INTO refunds SELECT 20, id, total FROM orders WHERE customer_id = 20;
INSERT INTO refunds SELECT customer_id + 1, id, total FROM orders WHERE customer_id = 20;
INSERT INTO refunds SELECT customer_id, id, total FROM orders;
INSERT INTO refunds SELECT 20, 1, 1;
INSERT INTO refunds SELECT g, 1, 1 FROM generate_series(1, 5) g;
-- UPDATE and DELETE.
UPDATE orders SET status = 'x' WHERE customer_id = 20;
UPDATE orders SET status = 'y', total = total + 1 WHERE customer_id = 20 AND id = 1 RETURNING *;
UPDATE orders o SET note = 'alias' WHERE o.customer_id = 20 AND o.id = 2;
UPDATE orders SET (status, note) = ('z', 'row') WHERE customer_id = 20 AND id = 3 RETURNING status, note;
UPDATE orders SET total = (SELECT sum(amount) FROM refunds WHERE customer_id = 20) WHERE customer_id = 20 AND id = 4;
UPDATE orders SET note = c.name FROM customers c WHERE c.customer_id = orders.customer_id AND orders.customer_id = 3 AND orders.id = 1 RETURNING note;
UPDATE orders SET status = 'none' WHERE customer_id = 99;
UPDATE orders SET status = 'none' WHERE customer_id = NULL;
-- parameters 20 | 5 | p
UPDATE orders SET note = $3 WHERE customer_id = $1 AND id = $2 RETURNING note;
UPDATE orders SET status = 'all';
UPDATE orders SET status = 'several' WHERE customer_id IN (1, 2, 3, 4);
UPDATE orders SET customer_id = 21 WHERE customer_id = 20;
UPDATE orders SET customer_id = 20 WHERE customer_id = 20 AND id = 1;
UPDATE orders SET customer_id = customer_id WHERE customer_id = 20 AND id = 1;
UPDATE orders SET status = 'x' WHERE id = 1;
UPDATE orders SET status = 'sub' WHERE customer_id = 20 AND id IN (SELECT id FROM refunds);
UPDATE orders SET note = r.id::text FROM refunds r WHERE orders.customer_id = 20 AND r.id = orders.id;
DELETE FROM orders WHERE customer_id = 20 AND id = 23 RETURNING *;
DELETE FROM orders o USING customers c WHERE o.customer_id = 3 AND c.customer_id = o.customer_id AND o.id = 9;
DELETE FROM refunds;
DELETE FROM refunds WHERE id = 100;
DELETE FROM orders WHERE customer_id = 20 AND EXISTS (SELECT 1 FROM refunds WHERE amount > 100);
TRUNCATE refunds;
-- Writing CTEs, MERGE, CALL, DO.
WITH d AS (DELETE FROM orders WHERE customer_id = 20 AND id = 22 RETURNING *) SELECT id FROM d;
WITH d AS (DELETE FROM orders WHERE customer_id = 20 AND id = 21 RETURNING *) INSERT INTO refunds SELECT customer_id, id, 5 FROM d;
WITH d AS (DELETE FROM orders RETURNING *) SELECT count(*) FROM d;
WITH d AS (UPDATE orders SET note = 'cte' WHERE customer_id = 20 RETURNING id) SELECT c.name FROM customers c WHERE c.customer_id = 3;
MERGE INTO orders o USING (VALUES (20, 1), (20, 100)) v(c, i) ON o.customer_id = v.c AND o.id = v.i AND o.customer_id = 20 WHEN MATCHED THEN UPDATE SET note = 'merged' WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (v.c, v.i);
MERGE INTO orders o USING customers c ON o.customer_id = c.customer_id WHEN MATCHED THEN UPDATE SET note = c.name;
MERGE INTO refunds r USING (SELECT * FROM orders WHERE id > 3) o ON r.customer_id = o.customer_id AND r.id = o.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND o.total > 1 THEN INSERT VALUES (o.customer_id, o.id, o.total);
MERGE INTO refunds r USING products p ON p.id = r.id WHEN MATCHED THEN UPDATE SET amount = p.price;
MERGE INTO refunds r USING products p ON p.id = r.id WHEN NOT MATCHED THEN INSERT VALUES (p.id, p.id, 1);
MERGE INTO refunds r USING orders o ON r.customer_id = o.customer_id WHEN NOT MATCHED THEN INSERT VALUES (o.id, o.id, 1);
MERGE INTO refunds r USING (VALUES (1, 1), (2, 2), (3, 3), (4, 4)) v(c, i) ON r.customer_id = v.c WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, 1);
WITH d AS (DELETE FROM orders WHERE id = 5 RETURNING *) INSERT INTO refunds SELECT customer_id, id, total FROM d RETURNING *;
WITH u AS (UPDATE orders SET note = 'cte' WHERE id = 6 RETURNING customer_id, id) DELETE FROM refunds r USING u WHERE r.customer_id = u.customer_id AND r.id = u.id;
WITH d AS (DELETE FROM refunds WHERE id = 4 RETURNING *) SELECT customer_id, amount FROM d;
WITH d AS (DELETE FROM refunds WHERE id = 3 RETURNING id) SELECT id FROM d;
WITH d AS (DELETE FROM refunds WHERE id = 3 RETURNING id) DELETE FROM orders o USING d WHERE o.id = d.id;
-- refused 0A000
DO $$ BEGIN DELETE FROM refunds; END $$;
CALL nothing();
SELECT * INTO copied FROM orders WHERE customer_id = 3;
DROP TABLE copied;
CREATE TABLE copied AS SELECT * FROM orders WHERE customer_id = 3;
DROP TABLE copied;
CREATE TABLE copied AS SELECT * FROM orders;
DROP TABLE copied;
SELECT id FROM orders WHERE customer_id = 20 FOR UPDATE;
-- In transactions.
BEGIN;
INSERT INTO orders (customer_id, id) VALUES (20, 200);
UPDATE orders SET note = 'tx' WHERE customer_id = 20 AND id = 200;
SELECT note FROM orders WHERE customer_id = 20 AND id = 200;
ROLLBACK;
SELECT note FROM orders WHERE customer_id = 20 AND id = 200;
BEGIN;
INSERT INTO orders (customer_id, id) VALUES (20, 201);
SAVEPOINT a;
INSERT INTO orders (customer_id, id) VALUES (20, 201);
ROLLBACK TO a;
INSERT INTO orders (customer_id, id) VALUES (20, 202);
COMMIT;
SELECT id FROM orders WHERE customer_id = 20 AND id >= 200;
