-- Writes that need rows of other shards than those they change.
UPDATE orders SET note = 'big' WHERE total > (SELECT avg(total) FROM orders);
UPDATE orders SET status = 'refunded' WHERE id IN (SELECT id / 100 FROM refunds WHERE amount > 3) RETURNING customer_id, id;
UPDATE orders SET note = 'none' WHERE id NOT IN (SELECT id FROM refunds WHERE id IS NOT NULL);
UPDATE orders SET note = 'unknown' WHERE id NOT IN (SELECT CASE WHEN amount > 3 THEN id END FROM refunds);
UPDATE orders SET note = 'all' WHERE total >= ALL (SELECT total FROM orders WHERE total IS NOT NULL);
UPDATE orders SET note = 'pair' WHERE (id, status) IN (SELECT order_id, 'new' FROM items);
UPDATE orders SET total = (SELECT total FROM orders);
UPDATE orders SET total = (SELECT price FROM items WHERE false) WHERE id = 2;
DELETE FROM items WHERE product_id IN (SELECT product_id FROM items GROUP BY product_id ORDER BY count(*) DESC, product_id LIMIT 1) AND line = 2;
DELETE FROM items i USING refunds r WHERE r.id = i.order_id AND i.quantity < 3 RETURNING i.order_id, r.id = i.order_id;
DELETE FROM orders o WHERE NOT EXISTS (SELECT 1 FROM refunds r WHERE r.id <> o.id) AND o.id = 3;
DELETE FROM orders WHERE EXISTS (SELECT FROM settings WHERE key = 'nothing');
UPDATE orders o SET note = c.name FROM customers c JOIN refunds r ON r.id > c.customer_id WHERE c.customer_id = o.id AND o.id = 1 AND r.id = (SELECT max(id) FROM refunds) RETURNING o.*;
UPDATE orders o SET note = o2.note FROM orders o2 WHERE o2.id = o.id + 1 AND o2.customer_id = o.customer_id + 1;
UPDATE orders o SET note = v.x FROM (SELECT customer_id + 1 AS k, max(note) AS x FROM orders GROUP BY 1) v WHERE v.k = o.customer_id AND o.id = 4;
UPDATE customers c SET (name, credit) = (SELECT max(note), sum(total) FROM orders WHERE id = 1) WHERE c.customer_id < 4;
UPDATE customers c SET credit = (SELECT count(*) FROM orders o WHERE o.id = c.customer_id) RETURNING customer_id, credit;
UPDATE customers c SET credit = x.t FROM (SELECT id, sum(total) t FROM orders GROUP BY id) x LEFT JOIN refunds r ON r.id = x.id WHERE x.id = c.customer_id AND r.id IS NULL;
WITH best AS (SELECT id FROM orders ORDER BY total DESC NULLS LAST, customer_id, id LIMIT 3) UPDATE orders SET note = 'best' WHERE id IN (SELECT id FROM best);
WITH RECURSIVE n AS (SELECT min(id) AS i FROM orders UNION ALL SELECT i + 1 FROM n WHERE i < 3) DELETE FROM items USING n WHERE items.order_id = n.i AND line = 3;
-- Values of one row, and their types.
UPDATE orders SET ts = (SELECT max(ts) + interval '1.5 days' FROM orders), total = (SELECT avg(total) FROM orders) WHERE id = 2 RETURNING ts, total;
UPDATE orders SET note = (SELECT array_agg(DISTINCT status ORDER BY status) FROM orders)::text WHERE id = 5;
UPDATE orders SET note = (SELECT 'it''s "\' || max(note) FROM orders) WHERE id = 1 RETURNING note;
UPDATE orders SET note = (SELECT NULL::text FROM orders LIMIT 1) WHERE id = 1 RETURNING note;
DELETE FROM customers WHERE customer_id = (SELECT max(customer_id) FROM customers) RETURNING *;
INSERT INTO customers (customer_id, name) VALUES (150, (SELECT max(note) FROM orders)), (151, 'x') RETURNING *;
INSERT INTO customers (customer_id, name) VALUES ((SELECT max(customer_id) + 100 FROM customers), 'next') RETURNING *;
INSERT INTO customers AS c (customer_id, name) VALUES (150, 'again'), (2, 'two') ON CONFLICT (customer_id) DO UPDATE SET name = excluded.name || (SELECT count(*) FROM orders) RETURNING *;
-- Home and reference tables.
UPDATE orders o SET note = s.value FROM settings s WHERE s.key = 'colour' AND o.id = 2;
UPDATE orders SET note = (SELECT value FROM settings WHERE key = 'size') WHERE customer_id = 3 RETURNING note;
UPDATE settings SET value = (SELECT count(*) FROM orders WHERE status = 'new')::text WHERE key = 'size' RETURNING *;
UPDATE settings s SET value = o.n FROM (SELECT status, count(*)::text AS n FROM orders GROUP BY status) o WHERE s.key = 'empty' AND o.status = 'paid' RETURNING s.*, o.n;
DELETE FROM settings WHERE key IN (SELECT note FROM orders) RETURNING *;
INSERT INTO settings VALUES ('orders', (SELECT count(*) FROM orders)) ON CONFLICT (key) DO UPDATE SET value = (SELECT max(id) FROM orders) RETURNING *;
UPDATE products p SET price = (SELECT sum(quantity) FROM items) WHERE id = 2 RETURNING *;
UPDATE products SET name = 'sold' WHERE id IN (SELECT product_id FROM items) RETURNING id;
INSERT INTO products VALUES (9, 'nine', (SELECT max(total) FROM orders)) RETURNING *;
-- refused 0A000
UPDATE products p SET price = (SELECT sum(i.quantity) FROM items i WHERE i.product_id = p.id);
-- WITH queries that write, and what is made of their rows.
WITH moved AS (DELETE FROM orders WHERE id = 4 RETURNING *) SELECT count(*), sum(total), min(status) FROM moved;
WITH moved AS (DELETE FROM refunds WHERE amount > 2 RETURNING *) INSERT INTO archive.orders SELECT customer_id, id, 2026 FROM moved RETURNING *;
WITH moved AS (DELETE FROM refunds WHERE customer_id = 3 RETURNING id, amount) INSERT INTO refunds SELECT 4, id, amount FROM moved;
WITH up AS (UPDATE orders SET total = total + 1 WHERE id = 1 RETURNING customer_id, total) SELECT sum(total), max(customer_id) FROM up;
WITH up AS (UPDATE orders SET total = total + 1 WHERE id = 1 RETURNING customer_id, total), gone AS (DELETE FROM items WHERE line = 2 RETURNING order_id) SELECT (SELECT sum(total) FROM up), (SELECT count(*) FROM gone);
WITH up AS (UPDATE orders SET note = 'up' WHERE id = 1) SELECT count(*) FROM customers;
WITH ins AS (INSERT INTO refunds VALUES (1, 501, 1), (2, 502, 2), (3, 503, 3) RETURNING *) SELECT sum(amount), max(id) FROM ins;
WITH ins AS (INSERT INTO refunds VALUES (1, 601, 1), (2, 602, 2) RETURNING *) INSERT INTO settings SELECT id, amount FROM ins;
WITH gone AS (DELETE FROM orders WHERE total > (SELECT avg(total) FROM orders) RETURNING *) SELECT status, count(*) FROM gone GROUP BY status ORDER BY 1;
-- A statement does not see its own writes: refused where it would.
-- refused 0A000
WITH gone AS (DELETE FROM orders WHERE id = 1 RETURNING *) SELECT count(*), (SELECT count(*) FROM orders) FROM gone;
-- refused 0A000
WITH gone AS (DELETE FROM refunds RETURNING id) UPDATE refunds SET amount = 0 WHERE id IN (SELECT id FROM gone);
-- refused 0A000
WITH up AS (UPDATE orders SET total = 0 WHERE id = 2 RETURNING id) DELETE FROM orders WHERE id IN (SELECT id FROM up);
-- What is each shard's own.
-- refused 0A000
DELETE FROM orders WHERE ctid IN (SELECT ctid FROM orders WHERE id = 5);
-- refused 0A000
UPDATE orders SET note = 'r' WHERE id IN (SELECT id FROM refunds FOR UPDATE);
-- refused 0A000
UPDATE orders SET note = o.tableoid::text FROM settings o WHERE o.key = note;
-- Parameters.
-- parameters 3 | 2
UPDATE orders SET note = 'p' || $2 WHERE total > (SELECT avg(total) FROM orders WHERE id = $1) RETURNING customer_id, note;
-- parameters 2
DELETE FROM items WHERE order_id IN (SELECT id FROM orders GROUP BY id HAVING count(*) > $1) AND line = 1;
-- parameters 1 | x
WITH up AS (UPDATE orders SET status = $2 WHERE id = $1 RETURNING customer_id, total, status) SELECT sum(total), min(status) FROM up;
-- parameters 700 | 701
WITH ins AS (INSERT INTO refunds VALUES (1, $1, 1), (2, $2, 2) RETURNING *) SELECT sum(amount), max(id) FROM ins;
-- parameters colour
UPDATE orders o SET note = s.value FROM settings s WHERE s.key = $1 AND o.id = 2 RETURNING o.customer_id, s.value;
-- parameters 5
INSERT INTO customers AS c (customer_id, name) VALUES (1, 'again'), (2, 'two') ON CONFLICT (customer_id) DO UPDATE SET credit = $1 + (SELECT count(*) FROM orders) RETURNING *;
-- parameters null
UPDATE orders SET note = 'null' WHERE id IN (SELECT id + $1::int8 FROM refunds);
-- Transactions.
BEGIN;
UPDATE orders SET total = 7 WHERE id IN (SELECT max(id) FROM orders);
SAVEPOINT a;
WITH gone AS (DELETE FROM customers WHERE customer_id > 2 RETURNING *) SELECT count(*) FROM gone;
ROLLBACK TO a;
UPDATE customers SET credit = (SELECT sum(total) FROM orders WHERE total = 7);
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE customers SET credit = credit + (SELECT count(*) FROM orders);
COMMIT;
BEGIN READ ONLY;
UPDATE customers SET credit = credit + (SELECT count(*) FROM orders);
ROLLBACK;
UPDATE customers SET credit = (SELECT 1 / (count(*) - count(*)) FROM orders);
UPDATE customers SET credit = (SELECT nothing FROM orders);
-- "IST" is read as another zone's than the one that wrote it.
SET TimeZone = 'Asia/Kolkata';
SET DateStyle = 'SQL, DMY';
-- refused 0A000
WITH gone AS (DELETE FROM orders WHERE id = 5 RETURNING *) SELECT count(*), max(ts) FROM gone;
SET DateStyle = 'ISO, DMY';
WITH gone AS (DELETE FROM orders WHERE id = 5 RETURNING *) SELECT count(*), max(ts) FROM gone;
RESET DateStyle;
RESET TimeZone;
-- Sequences set to what tables hold.
CREATE TABLE numbered (customer_id int8, id serial);
INSERT INTO numbered (customer_id, id) VALUES (1, 10), (2, 20), (3, 30);
SELECT setval(pg_get_serial_sequence('"numbered"','id'), coalesce(max("id"), 1), max("id") IS NOT null) FROM "numbered";
SELECT setval('numbered_id_seq', (SELECT max(id) + 1 FROM numbered));
SELECT pg_catalog.setval('numbered_id_seq', 42, true);
-- refused 0A000
SELECT setval('numbered_id_seq', id) FROM numbered;
DROP TABLE numbered;
-- Blocks of PL/pgSQL whose statements all stand in them.
DO $$ BEGIN CREATE TYPE mood AS ENUM ('good', 'bad'); EXCEPTION WHEN duplicate_object THEN null; END $$;
DO $$ BEGIN CREATE TYPE mood AS ENUM ('good', 'bad'); EXCEPTION WHEN duplicate_object THEN null; END $$;
DO $$ BEGIN CREATE TYPE mood AS ENUM ('good', 'bad'); END $$;
DO $$
BEGIN
  -- as migrations write it
  IF NOT EXISTS (SELECT 1 FROM pg_type WHERE typname = 'weather') THEN
    CREATE TYPE weather AS ENUM ('fair', 'foul');
  END IF;
END
$$ LANGUAGE plpgsql;
CREATE TABLE moods (customer_id int8, m mood, w weather);
INSERT INTO moods VALUES (1, 'good', 'fair'), (2, 'bad', 'foul');
SELECT * FROM moods WHERE m = 'bad';
DO $$ BEGIN ALTER TABLE moods ADD CONSTRAINT moods_check CHECK (customer_id > 0); EXCEPTION WHEN duplicate_object THEN NULL; END $$;
INSERT INTO moods VALUES (-1, 'good', 'fair');
DO $$ BEGIN UPDATE settings SET value = 'red' WHERE key = 'colour'; INSERT INTO settings VALUES ('done', '1'); END $$;
SELECT * FROM settings;
DO $$ BEGIN UPDATE orders SET note = 'do' WHERE customer_id = 3; DELETE FROM items WHERE customer_id = 3; END $$;
SELECT count(*) FROM orders WHERE note = 'do';
-- refused 0A000
DO $$ BEGIN UPDATE orders SET note = 'do' WHERE customer_id = 3; UPDATE orders SET note = 'do' WHERE customer_id = 4 / 0; END $$;
-- refused 0A000
DO $$ BEGIN UPDATE orders SET note = 'do'; END $$;
-- refused 0A000
DO $$ BEGIN DELETE FROM orders WHERE customer_id = 1; DELETE FROM orders WHERE customer_id = 2; END $$;
-- refused 0A000
DO $$ BEGIN EXECUTE 'DELETE FROM orders'; END $$;
DO $$ DECLARE n int; BEGIN DELETE FROM settings; END $$;
DO $$ BEGIN FOR i IN 1 .. 2 LOOP INSERT INTO settings VALUES (i, i); END LOOP; END $$;
-- refused 0A000
DO $$ BEGIN UPDATE products SET price = 1; END $$;
-- refused 0A000
DO $$ BEGIN CREATE TABLE t_do (a int); INSERT INTO settings VALUES ('t', 't'); END $$;
-- refused 0A000
DO $$ BEGIN IF (SELECT count(*) FROM orders) > 0 THEN DELETE FROM settings; END IF; END $$;
-- What one shard might decide otherwise than the next.
-- refused 0A000
DO $$ BEGIN IF random() < 2 THEN CREATE TABLE t_do (a int); END IF; END $$;
-- refused 0A000
DO $$ BEGIN IF now() > '2001-01-01' THEN CREATE TABLE t_do (a int); END IF; END $$;
-- refused 0A000
DO $$ BEGIN IF (SELECT reltuples FROM pg_class WHERE relname = 'orders') > -2 THEN CREATE TABLE t_do (a int); END IF; END $$;
-- refused 0A000
DO $$ BEGIN IF (SELECT oid % 2 FROM pg_class WHERE relname = 'orders') < 2 THEN CREATE TABLE t_do (a int); END IF; END $$;
-- refused 0A000
DO $$ BEGIN IF EXISTS (SELECT FROM pg_class WHERE oid = 16385) THEN CREATE TABLE t_do (a int); END IF; END $$;
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'orders'::regclass) THEN CREATE TABLE t_do (a int); END IF; END $$;
-- refused 0A000
DO $$ BEGIN IF EXISTS (SELECT FROM pg_stat_activity) THEN CREATE TABLE t_do (a int); END IF; END $$;
-- refused 0A000
DO $$ BEGIN IF EXISTS (SELECT FROM products) THEN CREATE TABLE t_do (a int); END IF; END $$;
-- refused 0A000
DO $$ BEGIN ALTER TABLE moods ADD CONSTRAINT one_good CHECK (m <> 'bad'); EXCEPTION WHEN check_violation THEN NULL; END $$;
-- refused 0A000
DO $$ BEGIN ALTER TABLE moods ADD CONSTRAINT one_good CHECK (m <> 'bad'); EXCEPTION WHEN duplicate_object OR others THEN NULL; END $$;
DO $$ BEGIN ALTER TABLE moods ADD CONSTRAINT one_good CHECK (m <> 'bad'); EXCEPTION WHEN duplicate_object OR duplicate_table THEN NULL; END $$;
DO $$ BEGIN IF to_regclass('t_do') IS NULL AND NOT EXISTS (SELECT FROM information_schema.columns WHERE table_name = 't_do') THEN CREATE TABLE t_do (a int); END IF; END $$;
DROP TABLE t_do;
DROP TABLE moods;
DROP TYPE mood;
DROP TYPE weather;
