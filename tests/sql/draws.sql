-- nextval in INSERT ... SELECT, in whatever place: numbers of the home shard's sequence, as many as one Postgres draws.
CREATE SEQUENCE dense START 100;
CREATE TABLE drawn (customer_id int8, n int8, m int8);
INSERT INTO drawn SELECT customer_id, nextval('dense') FROM customers;
INSERT INTO drawn SELECT customer_id, n FROM (SELECT customer_id, nextval('dense') AS n FROM customers ORDER BY customer_id) x;
INSERT INTO drawn WITH x AS (SELECT customer_id, nextval('dense') AS n FROM customers) SELECT customer_id, n, n - n FROM x;
INSERT INTO drawn SELECT customer_id, 5, (SELECT nextval('dense')) FROM customers;
INSERT INTO drawn SELECT customer_id, id FROM orders WHERE nextval('dense') > 0;
INSERT INTO drawn SELECT customer_id, count(*) FROM orders GROUP BY customer_id HAVING nextval('dense') > 0;
INSERT INTO drawn SELECT 1, nextval('dense') FROM generate_series(1, 3) UNION ALL SELECT 2, nextval('dense') FROM generate_series(1, 3);
INSERT INTO drawn SELECT o.customer_id, x.n FROM orders o JOIN (SELECT customer_id, nextval('dense') AS n FROM customers) x USING (customer_id) WHERE o.total > 100;
INSERT INTO drawn SELECT customer_id, CASE WHEN customer_id > 3 THEN nextval('dense') END FROM customers;
-- parameters 4
INSERT INTO drawn SELECT customer_id, n FROM (SELECT customer_id, nextval('dense') AS n FROM customers WHERE customer_id > $1) x;
SELECT customer_id, count(*) FROM drawn GROUP BY 1;
SELECT count(DISTINCT n), min(n), max(n), min(m), max(m) FROM drawn WHERE n >= 100 OR m >= 100;
SELECT nextval('dense');
-- With a row limit, RETURNING, ON CONFLICT; in a block that goes back.
BEGIN;
INSERT INTO drawn SELECT customer_id, 1 + 0 * n FROM (SELECT customer_id, nextval('dense') AS n FROM customers) x RETURNING *;
ROLLBACK;
SELECT nextval('dense');
-- What is not one number for each row that one Postgres draws it for, or asks who drew before.
-- refused 0A000
INSERT INTO drawn SELECT customer_id, nextval('dense') - currval('dense') FROM customers;
-- refused 0A000
INSERT INTO drawn SELECT customer_id, 1 FROM customers RETURNING n + nextval('dense') * 0;
-- refused 0A000
INSERT INTO drawn SELECT customer_id, setval('dense', 500) FROM customers;
-- refused 0A000
UPDATE drawn SET n = nextval('dense');
-- refused 0A000
DELETE FROM drawn WHERE n = nextval('dense');
-- refused 0A000
SELECT nextval('dense') * 0 + count(*) FROM customers;
-- refused 0A000
MERGE INTO drawn r USING (SELECT customer_id AS c, nextval('dense') AS n FROM customers) v ON r.customer_id = v.c AND r.n = v.n WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.n, 0);
DELETE FROM drawn;
DROP TABLE drawn;
DROP SEQUENCE dense;
