-- Tables made from queries: sharded where the key is among the columns, else on the home shard.

CREATE TABLE by_customer AS SELECT customer_id, count(*) AS n, sum(total) AS total FROM orders GROUP BY customer_id;
SELECT * FROM by_customer;
SELECT * FROM by_customer WHERE customer_id = 3;
INSERT INTO by_customer VALUES (99, 1, 1);
SELECT count(*), sum(n) FROM by_customer;
CREATE TABLE by_customer AS SELECT 1 AS a;
CREATE TABLE IF NOT EXISTS by_customer AS SELECT 1 AS a;
DROP TABLE by_customer;

CREATE TABLE report AS SELECT status, count(*) AS n, avg(total) AS mean, 'x' AS word, NULL AS nothing FROM orders GROUP BY status;
SELECT * FROM report;
INSERT INTO report SELECT name, 1 FROM customers;
SELECT count(*) FROM report;
DROP TABLE report;

CREATE TABLE renamed (customer_id, what) AS SELECT id, status FROM orders WHERE customer_id < 5;
SELECT * FROM renamed WHERE customer_id = 2;
DROP TABLE renamed;
CREATE TABLE empty AS SELECT customer_id, total::numeric(8,1) AS t, name::varchar(20) FROM orders JOIN customers USING (customer_id) WITH NO DATA;
SELECT * FROM empty;
INSERT INTO empty SELECT customer_id + 1, total, name FROM orders JOIN customers USING (customer_id);
SELECT * FROM empty;
DROP TABLE empty;
SELECT customer_id, id INTO picked FROM orders WHERE total > 50;
SELECT * FROM picked;
DROP TABLE picked;
SELECT customer_id INTO united FROM orders UNION SELECT customer_id FROM customers;
SELECT count(*) FROM united;
SELECT 1 INTO united UNION ALL SELECT 2;
DROP TABLE united;
WITH w AS (SELECT * FROM orders) SELECT status, count(*) AS n INTO counted FROM w GROUP BY status;
SELECT * FROM counted;
DROP TABLE counted;
CREATE TABLE valued (a, b) AS VALUES (1, 'a'), (2, NULL);
SELECT * FROM valued;
DROP TABLE valued;
CREATE TABLE named (x) AS SELECT id, status FROM orders;
SELECT * FROM named;
DROP TABLE named;
CREATE TABLE named (x, y, z) AS SELECT 1, 2;
CREATE TABLE named (x, y, z) AS SELECT id, status FROM orders;
CREATE TABLE series AS SELECT g AS customer_id, g * 2 AS v FROM generate_series(1, 30) g;
SELECT * FROM series WHERE customer_id = 7;
SELECT count(*), sum(v) FROM series;
DROP TABLE series;
CREATE UNLOGGED TABLE fast WITH (fillfactor = 70) AS TABLE orders;
SELECT count(*) FROM fast;
DROP TABLE fast;
CREATE TABLE twice AS SELECT customer_id, customer_id FROM orders;
CREATE TABLE broken AS SELECT customer_id, 1 / (customer_id - 3) AS v FROM customers;
SELECT * FROM broken;
CREATE TABLE nulls AS SELECT NULLIF(code, 'DE') AS code FROM countries;
SELECT count(*) FROM nulls;
DROP TABLE nulls;

-- In a block it is undone with it.
BEGIN;
CREATE TABLE undone AS SELECT customer_id, id FROM orders;
ROLLBACK;
SELECT * FROM undone;
BEGIN;
CREATE TABLE done AS SELECT customer_id, id FROM orders;
COMMIT;
SELECT count(*) FROM done;
DROP TABLE done;

-- The key as NULL, or of a type that cannot be hashed, has no shard.
-- refused 23502
CREATE TABLE keyless AS SELECT NULLIF(customer_id, 3) AS customer_id FROM customers;
-- refused 0A000
CREATE TABLE hashed AS SELECT customer_id::numeric AS customer_id FROM orders;
-- refused 0A000
CREATE TEMP TABLE t AS SELECT customer_id FROM orders;

-- Views over what is gathered.
CREATE VIEW statuses AS SELECT status, count(*) AS n FROM orders GROUP BY status;
SELECT * FROM statuses WHERE n > 1;
SELECT max(n) FROM statuses;
CREATE TABLE statuses_now AS SELECT * FROM statuses;
SELECT * FROM statuses_now;
DROP TABLE statuses_now;
DROP VIEW statuses;
