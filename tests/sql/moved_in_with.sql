-- UPDATE of the key in WITH: the rows move first, and what they return stands in the rest.
CREATE TABLE moved_log (customer_id int8, id int8, was int8);
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING customer_id, id) SELECT count(*), sum(customer_id), max(id) FROM m;
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1, amount = amount * 2 WHERE id = 3 RETURNING *) SELECT * FROM m;
WITH m(a, b) AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING customer_id - 1, amount) SELECT a, b, (SELECT count(*) FROM orders o WHERE o.customer_id = a) FROM m;
WITH m AS (UPDATE refunds SET customer_id = customer_id - 2 WHERE id = 3) SELECT count(*) FROM orders;
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id < 7 RETURNING *) INSERT INTO moved_log SELECT customer_id, id, customer_id - 1 FROM m;
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id < 7 RETURNING *) INSERT INTO moved_log SELECT customer_id, id, customer_id - 1 FROM m RETURNING *;
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING *) UPDATE orders o SET note = 'moved' FROM m WHERE o.customer_id = m.customer_id RETURNING o.customer_id, o.id;
WITH m AS (UPDATE refunds SET customer_id = 6 WHERE customer_id = 5 RETURNING *) DELETE FROM moved_log o USING m WHERE o.customer_id = m.customer_id;
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING *), n AS (UPDATE customers SET customer_id = customer_id + 100 WHERE vip RETURNING name) SELECT (SELECT count(*) FROM m), (SELECT string_agg(name, ',' ORDER BY name) FROM n);
WITH o AS (SELECT max(customer_id) AS c FROM orders), m AS (UPDATE refunds SET customer_id = o.c FROM o WHERE id = 6 RETURNING refunds.id, refunds.customer_id) SELECT count(*), min(m.customer_id), (SELECT c FROM o) FROM m;
WITH m AS (UPDATE refunds r SET customer_id = (SELECT max(customer_id) FROM orders) - r.id WHERE id = 3 RETURNING r.*) SELECT count(*), min(customer_id) FROM m;
-- parameters 2 | 3
WITH m AS (UPDATE refunds SET customer_id = customer_id + $1 WHERE id = $2 RETURNING *) SELECT customer_id, id, amount FROM m;
-- parameters 2 | 3
WITH m AS (UPDATE refunds SET customer_id = customer_id - $1 WHERE id = $2 RETURNING customer_id, amount) SELECT count(*), sum(customer_id), $2::int8 FROM m;
-- All rows and both keys on one shard, or no row.
WITH m AS (UPDATE refunds SET customer_id = 6 WHERE customer_id = 6 RETURNING *) SELECT * FROM m;
WITH m AS (UPDATE refunds SET customer_id = 60 WHERE customer_id = 60000 RETURNING *) SELECT count(*), max(id) FROM m;
WITH m AS (UPDATE refunds SET customer_id = 60 WHERE customer_id = 60000 RETURNING *) INSERT INTO moved_log SELECT customer_id, id FROM m;
-- What sees the table that is written is refused, and so is a second write to it.
-- refused 0A000
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING *) SELECT count(*) FROM m JOIN refunds r ON r.id = m.id;
-- refused 0A000
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING *), n AS (UPDATE refunds SET amount = 0 RETURNING id) SELECT count(*) FROM m, n;
-- refused 0A000
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING *) DELETE FROM refunds USING m WHERE refunds.id = m.id;
-- refused 23502
WITH m AS (UPDATE refunds SET customer_id = NULL WHERE id = 3 RETURNING *) SELECT count(*) FROM m;
-- An error behind the move takes it back.
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING *) SELECT 1 / (count(*) - count(*)) FROM m;
WITH m AS (UPDATE orders SET customer_id = 3 WHERE id = 1 RETURNING *) SELECT count(*) FROM m;
BEGIN;
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING *) INSERT INTO moved_log SELECT customer_id, id, 0 FROM m;
SAVEPOINT a;
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING *) SELECT 1 / (count(*) - count(*)) FROM m;
ROLLBACK TO a;
WITH m AS (UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING *) SELECT count(*), (SELECT count(*) FROM moved_log) FROM m;
COMMIT;
TABLE moved_log;
-- RETURNING of other tables' columns and of sub-selects.
-- refused 0A000
UPDATE refunds r SET customer_id = o.id FROM orders o WHERE o.customer_id = r.customer_id AND o.id = r.id + 1 RETURNING *;
-- refused 0A000
UPDATE refunds r SET customer_id = r.customer_id + 1 FROM customers c WHERE c.customer_id = r.customer_id AND r.id = 3 RETURNING r.customer_id, r.amount + c.credit AS sum, c.name;
-- refused 0A000
UPDATE refunds SET customer_id = c.m FROM (SELECT max(customer_id) - 1 AS m FROM customers) c WHERE refunds.id = 6 RETURNING refunds.id, c.m;
UPDATE refunds SET customer_id = customer_id + 1 WHERE id = 3 RETURNING id, (SELECT count(*) FROM products);
DROP TABLE moved_log;
-- Two UPDATEs of the key, of which the last leaves it as it is.
INSERT INTO refunds VALUES (7, 70, 1), (7, 71, 2);
WITH m AS (UPDATE refunds SET customer_id = 8 WHERE customer_id = 7) UPDATE orders SET customer_id = 7 WHERE customer_id = 7;
SELECT * FROM refunds WHERE customer_id = 8;
WITH m AS (UPDATE refunds SET customer_id = 10 WHERE customer_id = 8), n AS (UPDATE orders SET customer_id = 8 WHERE customer_id = 8) SELECT 1;
SELECT * FROM refunds WHERE customer_id = 10;
-- parameters 10 | 11
WITH m AS (UPDATE refunds SET customer_id = $2 WHERE customer_id = $1) UPDATE orders SET customer_id = $1 WHERE customer_id = $1;
SELECT * FROM refunds WHERE customer_id = 11;
WITH m AS (UPDATE refunds SET customer_id = 11, amount = 8 WHERE customer_id = 11) UPDATE orders SET customer_id = 11, note = 'stays' WHERE customer_id = 11;
SELECT * FROM refunds WHERE customer_id = 11;
