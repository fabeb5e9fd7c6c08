-- INSERT ... SELECT whose rows come from anywhere and go to where their keys say.

-- Rows move between shards.
INSERT INTO refunds SELECT customer_id + 1, id, total FROM orders;
INSERT INTO refunds (id, customer_id) SELECT customer_id, id FROM orders;
INSERT INTO refunds SELECT g, g * 2, g * 1.5 FROM generate_series(1, 20) g;
INSERT INTO refunds SELECT g, g FROM generate_series(100, 101) g;
INSERT INTO refunds SELECT 21, 1, 1 FROM orders WHERE false;

-- Joins off the key, aggregates, windows, set operations, DISTINCT, LIMIT, WITH.
INSERT INTO refunds SELECT o.customer_id, count(*), sum(i.price * i.quantity) FROM orders o JOIN items i ON i.order_id = o.id GROUP BY o.customer_id;
INSERT INTO refunds SELECT max(customer_id) + 50, count(*), avg(total) FROM orders;
INSERT INTO refunds SELECT customer_id + 60, rank() OVER (ORDER BY total DESC NULLS LAST, customer_id, id), total FROM orders;
INSERT INTO refunds SELECT id, id, 1 FROM orders UNION SELECT customer_id, 2, 2 FROM customers;
INSERT INTO refunds SELECT DISTINCT id + 200, 1, 1.0 FROM orders;
INSERT INTO refunds SELECT customer_id + 300, id, total FROM orders ORDER BY total DESC NULLS LAST, customer_id, id LIMIT 5;
WITH big AS (SELECT customer_id, total FROM orders WHERE total > 50) INSERT INTO refunds SELECT customer_id + 400, 1, sum(total) FROM big GROUP BY customer_id;
INSERT INTO refunds WITH big AS (SELECT max(total) AS t FROM orders) SELECT 500, 1, t FROM big;
WITH a AS (SELECT 1 AS x) INSERT INTO refunds WITH b AS (SELECT count(*) AS n FROM orders) SELECT 501, x, n FROM a, b;
INSERT INTO orders (customer_id, id, total) SELECT customer_id + 1000, id, total FROM orders o WHERE total > (SELECT avg(total) FROM orders);
TABLE refunds;

-- Values are cast as INSERT casts them.
INSERT INTO orders (customer_id, id, total, note) SELECT customer_id::numeric + 600.4, 1.6, 2.345, 7 FROM customers;
INSERT INTO customers (customer_id, name, since) SELECT customer_id + 600, 'x', '2024-02-03' FROM customers;
INSERT INTO customers (customer_id, country) SELECT customer_id + 620, 'DEU' FROM customers;
INSERT INTO customers (customer_id, country) SELECT customer_id + 620, 'DE ' FROM customers;
INSERT INTO customers (customer_id, credit) SELECT customer_id + 640, 1e12 FROM customers;
INSERT INTO k_int2 SELECT id * 40000, 1 FROM orders;
INSERT INTO k_text SELECT name, 9 FROM customers WHERE name IS NOT NULL;
INSERT INTO k_text SELECT E'a\\b\tc\nd' || customer_id, 10 FROM customers;
INSERT INTO k_varchar SELECT 'k' || v || customer_id, v FROM k_text WHERE v = 3;
INSERT INTO k_varchar SELECT customer_id || 'far too long for it', v FROM k_text;
INSERT INTO k_char SELECT 'c' || customer_id, 6 FROM customers;
INSERT INTO k_uuid SELECT ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a' || lpad(customer_id::text, 2, '0'))::uuid, 7 FROM customers;
INSERT INTO k_int4 SELECT total, id FROM orders WHERE total IS NOT NULL;
INSERT INTO k_int4 SELECT 'x', id FROM orders;
INSERT INTO k_int4 SELECT note, id FROM orders;
INSERT INTO "Odd Table" ("select", "customer_id", "Weird ""Column") SELECT id, customer_id + 1, note FROM orders;
INSERT INTO archive.orders SELECT customer_id * 2, id, extract(year FROM ts) FROM orders;
INSERT INTO lineitem SELECT customer_id * 100 + id, 1, total FROM orders;

-- Errors leave nothing behind.
INSERT INTO orders (customer_id, id) SELECT customer_id, id FROM orders UNION ALL SELECT 1, 99;
INSERT INTO orders (customer_id, id) SELECT g, 1 FROM generate_series(1, 50) g;
INSERT INTO refunds SELECT customer_id + 1, 1 / (customer_id - 5), 1 FROM customers;
INSERT INTO refunds SELECT customer_id, id, total, note FROM orders;
INSERT INTO refunds (customer_id, nothing) SELECT customer_id + 1, id FROM orders;
INSERT INTO customers (customer_id) SELECT NULLIF(customer_id, 3) + 5000 FROM customers;

-- ON CONFLICT and RETURNING.
INSERT INTO orders (customer_id, id, total) SELECT customer_id + 1, id, -1 FROM orders ON CONFLICT DO NOTHING;
INSERT INTO orders AS o (customer_id, id, total) SELECT id, customer_id, 0.5 FROM orders WHERE customer_id < 100 AND id < 4 ON CONFLICT (customer_id, id) DO UPDATE SET total = COALESCE(o.total, 0) + excluded.total, note = 'again';
INSERT INTO orders (customer_id, id) SELECT 9, 9 FROM generate_series(1, 2) ON CONFLICT (customer_id, id) DO UPDATE SET total = 1;
INSERT INTO refunds SELECT customer_id + 700, id, total FROM orders WHERE customer_id < 100 RETURNING customer_id, id + 1 AS next, amount;
-- ordered
INSERT INTO refunds SELECT g, 1, 1 FROM generate_series(800, 830) g ORDER BY g DESC RETURNING *;
INSERT INTO refunds SELECT customer_id + 1, 1, 1 FROM orders WHERE false RETURNING *;
INSERT INTO customers (customer_id, name) SELECT customer_id + 900, 'nine' FROM customers WHERE customer_id < 13 ON CONFLICT DO NOTHING RETURNING customer_id, name, vip;
INSERT INTO customers (customer_id, name) SELECT customer_id + 900, 'ten' FROM customers WHERE customer_id < 13 ON CONFLICT DO NOTHING RETURNING customer_id, name, vip;

-- Into reference and home tables.
INSERT INTO countries SELECT DISTINCT left(status, 2), 'from orders' FROM orders WHERE length(status) > 2;
INSERT INTO countries SELECT 'Y' || max(id)::text, min(status) FROM orders RETURNING *;
INSERT INTO countries SELECT country, name FROM customers ON CONFLICT (code) DO NOTHING;
INSERT INTO products SELECT id + 10, 'product ' || id, sum(total) FROM orders WHERE customer_id < 100 GROUP BY id;
INSERT INTO settings SELECT 'orders', count(*) FROM orders;
INSERT INTO settings SELECT status, count(*) FROM orders GROUP BY status;
INSERT INTO settings SELECT 'orders', count(*) FROM orders ON CONFLICT (key) DO UPDATE SET value = excluded.value RETURNING *;
INSERT INTO settings SELECT 'customer ' || customer_id, name FROM customers WHERE customer_id < 13;
INSERT INTO orders (customer_id, id, note) SELECT 40 + length(key), row_number() OVER (ORDER BY key) + 100, value FROM settings WHERE key < 'd';

-- With parameters.
-- parameters 30 | paid
INSERT INTO refunds SELECT customer_id + $1, id, total FROM orders WHERE status = $2;
-- parameters 31 | 5
INSERT INTO refunds SELECT customer_id + $1, count(*), $2 FROM orders GROUP BY customer_id RETURNING *;
-- parameters 7 | x
INSERT INTO orders AS o (customer_id, id) SELECT customer_id, id FROM orders ON CONFLICT (customer_id, id) DO UPDATE SET total = o.total + $1, note = $2;
-- parameters 1 | 2
INSERT INTO refunds SELECT $1, id, total FROM orders WHERE customer_id = $2;

-- In a block its own rows are seen, and it is undone with it.
BEGIN;
INSERT INTO orders (customer_id, id) SELECT g, 77 FROM generate_series(2000, 2010) g;
INSERT INTO refunds SELECT customer_id + 1, id, 1 FROM orders WHERE id = 77;
SELECT count(*) FROM refunds WHERE id = 77;
SAVEPOINT a;
INSERT INTO refunds SELECT customer_id + 2, 78, 1 FROM orders WHERE id = 77;
ROLLBACK TO a;
SELECT count(*) FROM refunds WHERE id = 78;
INSERT INTO orders (customer_id, id) SELECT customer_id - 1, id FROM orders WHERE id = 77;
SELECT 1;
ROLLBACK;
SELECT count(*) FROM refunds WHERE id = 77;
BEGIN;
INSERT INTO refunds SELECT customer_id + 3, 79, 1 FROM orders;
COMMIT;
SELECT customer_id, count(*) FROM refunds WHERE id = 79 GROUP BY customer_id;
BEGIN READ ONLY;
INSERT INTO refunds SELECT customer_id + 1, id, 1 FROM orders;
ROLLBACK;
PREPARE p AS INSERT INTO refunds SELECT customer_id + $1, 80, $2 FROM customers WHERE customer_id < 13;
EXECUTE p (3000, 1);
EXECUTE p (3100, '2.5');
DEALLOCATE p;

-- Defaults: the time is one for all, numbers are drawn from the one sequence.
CREATE TABLE drawn (customer_id int8, id bigserial, made timestamptz DEFAULT now(), word text DEFAULT 'w', twice int8 GENERATED ALWAYS AS (customer_id * 2) STORED);
INSERT INTO drawn (customer_id) SELECT customer_id + 1 FROM customers WHERE customer_id < 13;
INSERT INTO drawn (customer_id, word) SELECT id, status FROM orders ORDER BY customer_id, id LIMIT 3;
SELECT count(*), count(DISTINCT id), count(DISTINCT made), min(word), sum(twice) FROM drawn WHERE word = 'w';
BEGIN;
INSERT INTO drawn (customer_id) SELECT g FROM generate_series(50, 60) g;
SELECT count(*) FROM drawn WHERE made = now();
COMMIT;
DROP TABLE drawn;
CREATE TABLE made (code text PRIMARY KEY, tag uuid DEFAULT gen_random_uuid(), at timestamptz DEFAULT now());
INSERT INTO made (code) SELECT DISTINCT status FROM orders WHERE customer_id < 13 AND status IS NOT NULL;
SELECT code, at = (SELECT max(at) FROM made) FROM made;
DROP TABLE made;
-- A merge server is not to wait for what the block has locked, and the block for it.
BEGIN;
TRUNCATE refunds;
INSERT INTO refunds SELECT customer_id + 1, id, total FROM orders WHERE customer_id = 4;
ROLLBACK;
BEGIN;
LOCK TABLE refunds;
INSERT INTO refunds SELECT customer_id + 1, id, total FROM orders WHERE customer_id = 4;
ROLLBACK;
BEGIN;
LOCK TABLE refunds IN SHARE ROW EXCLUSIVE MODE;
DELETE FROM refunds;
INSERT INTO refunds SELECT customer_id + 1, id, total FROM orders WHERE customer_id = 4;
ROLLBACK;
BEGIN;
TRUNCATE refunds;
INSERT INTO refunds SELECT customer_id, id, total FROM orders WHERE customer_id = 4;
SELECT customer_id, count(*) FROM orders GROUP BY 1;
SELECT count(*), sum(total) FROM orders;
SELECT status, count(*) FROM orders GROUP BY status;
COMMIT;
-- Numbers of a sequence that no sharded table draws from: dense, in the rows' order, from the home shard.
CREATE SEQUENCE dense START 100;
INSERT INTO refunds (customer_id, id) SELECT customer_id, nextval('dense') FROM customers ORDER BY customer_id LIMIT 7;
INSERT INTO refunds (customer_id, id, amount) SELECT customer_id, nextval('dense'), max(id) FROM orders GROUP BY customer_id ORDER BY customer_id RETURNING customer_id, id, amount;
INSERT INTO refunds (customer_id, id) SELECT nextval('dense') + g, g FROM generate_series(1, 5) g RETURNING *;
INSERT INTO orders (customer_id, id, note) SELECT 3, nextval('dense') * 10, status FROM orders WHERE customer_id = 3 AND id = 1 RETURNING customer_id, id;
INSERT INTO orders (customer_id, id, note) SELECT 4, nextval('dense') * 10, 'a' FROM (SELECT DISTINCT status FROM orders ORDER BY status LIMIT 3) s ON CONFLICT DO NOTHING RETURNING customer_id, id;
-- parameters 5
INSERT INTO orders (customer_id, id, note) SELECT customer_id, nextval('dense') * 10 + $1, 'p' FROM customers WHERE customer_id <= $1 ORDER BY customer_id RETURNING customer_id, id;
INSERT INTO settings SELECT 'n' || customer_id, nextval('dense') FROM customers ORDER BY customer_id LIMIT 2 RETURNING *;
INSERT INTO products SELECT nextval('dense'), max(name), 1 FROM customers RETURNING *;
INSERT INTO refunds (customer_id, id) VALUES (1, nextval('dense')), (2, nextval('dense')), (3, nextval('dense')) RETURNING *;
INSERT INTO refunds (customer_id, id) SELECT customer_id, nextval('dense') FROM orders WHERE id = 1 / (id - 1);
WITH w AS (SELECT customer_id FROM customers ORDER BY 1 LIMIT 3) INSERT INTO refunds (customer_id, id) SELECT customer_id, nextval('dense') FROM w RETURNING *;
BEGIN;
INSERT INTO refunds (customer_id, id) SELECT customer_id, nextval('dense') FROM customers ORDER BY customer_id LIMIT 2 RETURNING *;
ROLLBACK;
INSERT INTO refunds (customer_id, id) SELECT customer_id, (SELECT nextval('dense')) FROM customers;
SELECT nextval('dense');
CREATE TABLE dense_rows (customer_id int8, id int8 DEFAULT nextval('dense'), n int4);
INSERT INTO dense_rows (customer_id, n) SELECT customer_id, 1 FROM customers;
INSERT INTO dense_rows (customer_id, n) SELECT customer_id, count(*) FROM orders GROUP BY 1;
SELECT count(DISTINCT id), count(*) FROM dense_rows;
DROP TABLE dense_rows;
DROP SEQUENCE dense;
