-- Materialized views: their rows live on the home shard, whatever their query reads.

CREATE MATERIALIZED VIEW statuses AS SELECT status, count(*) AS n, avg(total) AS mean, 'x' AS word FROM orders GROUP BY status;
SELECT * FROM statuses;
SELECT s.n, o.id FROM statuses s JOIN orders o ON o.status = s.status WHERE o.customer_id < 4;
SELECT sum(n) FROM statuses WHERE status <> 'paid';
INSERT INTO orders (customer_id, id, status, total) VALUES (3, 900, 'fresh', 1.25), (4, 900, 'fresh', 2.25);
SELECT * FROM statuses;
REFRESH MATERIALIZED VIEW statuses;
SELECT * FROM statuses;
SELECT matviewname, ispopulated FROM pg_matviews WHERE matviewname = 'statuses';

-- CONCURRENTLY needs a unique index.
REFRESH MATERIALIZED VIEW CONCURRENTLY statuses;
CREATE UNIQUE INDEX statuses_status ON statuses (status);
DELETE FROM orders WHERE id = 900;
REFRESH MATERIALIZED VIEW CONCURRENTLY statuses;
SELECT * FROM statuses;
REFRESH MATERIALIZED VIEW CONCURRENTLY statuses WITH NO DATA;
REFRESH MATERIALIZED VIEW statuses WITH NO DATA;
SELECT * FROM statuses;
REFRESH MATERIALIZED VIEW CONCURRENTLY statuses;
REFRESH MATERIALIZED VIEW statuses;
SELECT count(*) FROM statuses;

-- What depends on what.
ALTER TABLE orders DROP COLUMN status;
DROP TABLE statuses;
DROP VIEW statuses;
CREATE MATERIALIZED VIEW statuses AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW IF NOT EXISTS statuses AS SELECT 1 AS a;
INSERT INTO statuses VALUES ('a');
DELETE FROM statuses;
COMMENT ON MATERIALIZED VIEW statuses IS 'counts';
SELECT obj_description('statuses'::regclass);
ALTER MATERIALIZED VIEW statuses RENAME COLUMN n TO many;
ALTER MATERIALIZED VIEW statuses RENAME TO counts;
REFRESH MATERIALIZED VIEW counts;
SELECT status, many FROM counts;
CREATE VIEW above AS SELECT * FROM counts WHERE many > 1;
SELECT count(*) FROM above;
DROP MATERIALIZED VIEW counts;
DROP VIEW above;
ANALYZE counts;
DROP MATERIALIZED VIEW counts;
SELECT * FROM counts;
REFRESH MATERIALIZED VIEW counts;
REFRESH MATERIALIZED VIEW orders;

-- With the key among its columns, columns named, without rows, of few types.
CREATE MATERIALIZED VIEW keyed (customer_id, what) AS SELECT id, status FROM orders WHERE customer_id < 5;
SELECT * FROM keyed;
SELECT k.what, c.name FROM keyed k JOIN customers c USING (customer_id);
SELECT * FROM keyed WHERE customer_id = 2;
ALTER MATERIALIZED VIEW keyed RENAME COLUMN customer_id TO id;
DROP MATERIALIZED VIEW keyed;
CREATE MATERIALIZED VIEW empty AS SELECT customer_id, total::numeric(8,1) AS t, name::varchar(20) AS v FROM orders JOIN customers USING (customer_id) WITH NO DATA;
SELECT * FROM empty;
REFRESH MATERIALIZED VIEW empty;
SELECT * FROM empty;
DROP MATERIALIZED VIEW IF EXISTS empty, nothing;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE MATERIALIZED VIEW moods AS SELECT id, 'sad'::mood AS m, status COLLATE "C" AS s, ts FROM orders;
SELECT * FROM moods;
DROP MATERIALIZED VIEW moods;
DROP TYPE mood;
CREATE MATERIALIZED VIEW twice AS SELECT 1, 2;
CREATE MATERIALIZED VIEW twice (a, b) AS SELECT 1 AS x, NULL AS y;
SELECT * FROM twice;
DROP MATERIALIZED VIEW twice;
CREATE MATERIALIZED VIEW broken AS SELECT customer_id, 1 / (customer_id - 3) AS v FROM customers;
SELECT * FROM broken;
CREATE MATERIALIZED VIEW cte AS WITH big AS (SELECT * FROM orders WHERE total > 50) SELECT customer_id, max(total) FROM big GROUP BY 1 ORDER BY 2 DESC LIMIT 3;
SELECT * FROM cte;
CREATE MATERIALIZED VIEW above AS SELECT count(*) FROM cte;
SELECT * FROM above;
REFRESH MATERIALIZED VIEW cte;
DROP MATERIALIZED VIEW cte;
DROP MATERIALIZED VIEW above;
DROP MATERIALIZED VIEW cte;

-- In a block it is undone with it, and sees what the block has written.
BEGIN;
CREATE MATERIALIZED VIEW undone AS SELECT customer_id, id FROM orders;
SELECT count(*) FROM undone;
ROLLBACK;
SELECT * FROM undone;
CREATE MATERIALIZED VIEW sums AS SELECT customer_id % 2 AS odd, sum(total) AS total FROM orders GROUP BY 1;
BEGIN;
UPDATE orders SET total = total + 1;
REFRESH MATERIALIZED VIEW sums;
SELECT * FROM sums;
ROLLBACK;
SELECT * FROM sums;
BEGIN;
UPDATE orders SET total = total + 2;
REFRESH MATERIALIZED VIEW sums;
COMMIT;
SELECT * FROM sums;
DROP MATERIALIZED VIEW sums;
-- Composite types, which the transaction has not changed.
CREATE TYPE pair AS (a int8, b text);
CREATE TABLE paired (customer_id int8, p pair, ps pair[]);
INSERT INTO paired SELECT customer_id, ROW(id, status)::pair, ARRAY[ROW(id, status)::pair] FROM orders;
CREATE MATERIALIZED VIEW pairs AS SELECT p, ps, count(*) AS n FROM paired GROUP BY p, ps;
SELECT p, (ps[1]).a, n FROM pairs;
REFRESH MATERIALIZED VIEW pairs;
SELECT count(*), max((p).a) FROM pairs;
DROP MATERIALIZED VIEW pairs;
BEGIN;
CREATE TABLE copied (customer_id int8, p pair);
INSERT INTO copied SELECT customer_id, p FROM paired;
-- ordered
SELECT DISTINCT p FROM copied ORDER BY p DESC;
SELECT c.p, r.id FROM copied c JOIN refunds r ON r.id = (c.p).a;
ROLLBACK;
BEGIN;
ALTER TYPE pair ADD ATTRIBUTE c int4;
-- refused 0A000
DECLARE c CURSOR FOR SELECT p FROM paired ORDER BY p LIMIT 2;
ROLLBACK;
CREATE TYPE nested AS (p pair);
BEGIN;
CREATE TABLE made (customer_id int8, n nested);
-- refused 0A000
DECLARE c CURSOR FOR SELECT n FROM made ORDER BY n;
ROLLBACK;
DROP TABLE paired;
DROP TYPE nested;
DROP TYPE pair;
