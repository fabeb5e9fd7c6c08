-- Functions that are called with the key of the row, where the statement restricts it to one value.
CREATE FUNCTION orders_of(c int8) RETURNS int8 LANGUAGE sql STABLE AS 'SELECT count(*) FROM orders WHERE customer_id = c';
CREATE FUNCTION add_refund(c int8, i int8) RETURNS int8 LANGUAGE sql VOLATILE AS 'INSERT INTO refunds VALUES (c, i, 1) RETURNING id';
CREATE FUNCTION add_refund_pl(c int8, i int8) RETURNS int8 LANGUAGE plpgsql VOLATILE AS 'BEGIN INSERT INTO refunds VALUES (c, i, 1); RETURN i + 1; END';
CREATE FUNCTION twice(n int8) RETURNS int8 LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN n * 2; END';
CREATE FUNCTION of_text(k text) RETURNS int8 LANGUAGE sql STABLE AS 'SELECT sum(v) FROM k_text WHERE customer_id = k';
SELECT twice(customer_id), twice(id) FROM orders WHERE customer_id = 3;
SELECT twice(id) FROM orders;
SELECT orders_of(customer_id) FROM customers WHERE customer_id = 3;
SELECT c.name, orders_of(c.customer_id) + 1 FROM customers c WHERE 3 = c.customer_id AND c.name IS NOT NULL;
SELECT c.name, orders_of(c => customers.customer_id) FROM customers AS c(k), customers WHERE customers.customer_id = 3 AND c.k = 3;
SELECT o.id, orders_of(o.customer_id) FROM orders o JOIN customers c USING (customer_id) WHERE o.customer_id = 3 ORDER BY orders_of(o.customer_id), o.id;
SELECT o.id, orders_of(c.customer_id) FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id AND c.vip WHERE o.customer_id = 4 AND c.customer_id = 4;
SELECT max(orders_of(customer_id)), count(*) FROM orders WHERE customer_id = 3 GROUP BY status HAVING max(orders_of(customer_id)) > 1;
SELECT of_text(customer_id) FROM k_text WHERE customer_id = 'key 3';
-- parameters 3
SELECT orders_of(customer_id) FROM customers WHERE customer_id = $1;
-- parameters 30000
SELECT orders_of(customer_id) FROM customers WHERE customer_id = $1;
-- parameters null
SELECT orders_of(customer_id) FROM customers WHERE customer_id = $1;
-- Those that write.
SELECT add_refund(customer_id, 60) FROM customers WHERE customer_id = 3;
SELECT add_refund_pl(customer_id, id) FROM orders WHERE customer_id = 3 AND id < 3;
-- parameters 4 | 61
SELECT add_refund_pl(customer_id, $2) FROM orders WHERE customer_id = $1;
SELECT add_refund(customer_id, 62) FROM customers WHERE customer_id = 30000;
UPDATE orders SET note = orders_of(customer_id)::text WHERE customer_id = 3;
UPDATE orders o SET note = orders_of(o.customer_id)::text FROM customers c WHERE c.customer_id = o.customer_id AND o.customer_id = 6 RETURNING o.id, orders_of(o.customer_id);
DELETE FROM refunds WHERE customer_id = 3 AND id = 60 RETURNING add_refund_pl(customer_id, 63), orders_of(customer_id);
SELECT * FROM (SELECT orders_of(customer_id) AS n FROM customers WHERE customer_id = 3) x WHERE n > 1;
BEGIN;
SELECT add_refund(customer_id, 64) FROM customers WHERE customer_id = 3;
SELECT add_refund(customer_id, 64) FROM customers WHERE customer_id = 4;
ROLLBACK;
TABLE refunds;
-- Where it is another row's key, another column, or not restricted.
-- refused 0A000
SELECT orders_of(customer_id) FROM customers;
-- refused 0A000
SELECT orders_of(id) FROM orders WHERE customer_id = 3;
-- refused 0A000
SELECT orders_of(customer_id + 1) FROM customers WHERE customer_id = 3;
-- refused 0A000
SELECT orders_of(customer_id) FROM customers WHERE customer_id = 3 OR customer_id = 4;
-- refused 0A000
SELECT orders_of(customer_id) FROM customers WHERE NOT customer_id = 3;
-- refused 0A000
SELECT orders_of(customer_id) FROM customers WHERE customer_id >= 3;
-- refused 0A000
SELECT orders_of(c.customer_id) FROM orders o, customers c WHERE o.customer_id = 3;
-- refused 0A000
SELECT (SELECT orders_of(customer_id) FROM customers WHERE name = 'customer 4') FROM customers WHERE customer_id = 3;
-- refused 0A000
SELECT (SELECT orders_of(x.customer_id) FROM customers x LIMIT 1) FROM customers x WHERE x.customer_id = 3;
-- refused 0A000
SELECT add_refund(4, 65) FROM customers WHERE customer_id = 3;
-- refused 0A000
SELECT add_refund(customer_id, 65) FROM customers WHERE customer_id IN (3, 4);
-- refused 0A000
WITH customers AS (SELECT customer_id + 1 AS customer_id FROM orders) SELECT orders_of(customer_id) FROM customers WHERE customer_id = 3;
-- refused 0A000
SELECT orders_of(customer_id) FROM (SELECT customer_id + 1 AS customer_id FROM customers) customers WHERE customer_id = 3;
-- refused 0A000
SELECT of_text(customer_id) FROM k_char WHERE customer_id = 'c3';
-- refused 0A000
SELECT name FROM customers WHERE customer_id = 3 AND orders_of(customer_id) > 2;
DROP FUNCTION orders_of, add_refund, add_refund_pl, twice, of_text;
