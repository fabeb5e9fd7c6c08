-- Writes with sub-selects, MERGE that inserts constants, sequences of the block.
MERGE INTO orders o USING (SELECT 1 AS one) s ON o.customer_id = 100 AND o.id = 1 WHEN NOT MATCHED THEN INSERT (customer_id, id, status) VALUES (100, 1, 'm');
MERGE INTO orders o USING (VALUES (101, 1), (102, 1), (103, 1)) s(c, i) ON o.customer_id = s.c AND o.id = s.i WHEN NOT MATCHED THEN INSERT (customer_id, id, status) VALUES (s.c, s.i, 'm') WHEN MATCHED THEN UPDATE SET status = 'x';
MERGE INTO orders o USING customers c ON o.customer_id = c.customer_id AND o.id = 1 WHEN MATCHED THEN UPDATE SET status = 'x' WHEN NOT MATCHED THEN INSERT (customer_id, id, status) VALUES (7, 900 + c.customer_id, 'm');
MERGE INTO orders o USING customers c ON o.customer_id = c.customer_id AND o.id = 1 WHEN MATCHED THEN UPDATE SET status = 'x' WHEN NOT MATCHED AND c.customer_id < 3 THEN INSERT (customer_id, id, status) VALUES (7, 900 + c.customer_id, 'm') WHEN NOT MATCHED THEN INSERT (customer_id, id, status) VALUES (8, 900 + c.customer_id, 'm');
MERGE INTO orders o USING products p ON o.customer_id = 3 AND o.id = p.id WHEN MATCHED THEN UPDATE SET note = p.name WHEN NOT MATCHED THEN INSERT (customer_id, id, note) VALUES (3, p.id, p.name);
UPDATE orders SET customer_id = (SELECT max(customer_id) + 20 FROM customers), id = id + 5000 WHERE customer_id = 3 AND id = 1;
UPDATE orders SET customer_id = customer_id + 30, note = (SELECT name FROM customers c WHERE c.customer_id = orders.customer_id) WHERE id = 2;
UPDATE orders SET customer_id = customer_id + 30, note = (SELECT name FROM countries WHERE code = 'DE') WHERE id = 3;
UPDATE orders SET customer_id = customer_id + 30 WHERE id = 4 AND customer_id IN (SELECT customer_id FROM customers WHERE country = 'DE');
UPDATE orders SET customer_id = customer_id + 30 WHERE id = 4 AND customer_id IN (SELECT o.customer_id FROM refunds o);
UPDATE orders SET customer_id = c.customer_id + 40 FROM customers c WHERE c.customer_id = orders.customer_id AND orders.id = 5;
INSERT INTO orders (customer_id, id) VALUES ((SELECT max(customer_id) FROM customers), 7001);
INSERT INTO orders (customer_id, id) VALUES ((SELECT max(customer_id) FROM customers), 7002), (3, 7002);
INSERT INTO orders (customer_id, id) VALUES ((SELECT customer_id FROM customers WHERE name = 'customer 4'), 7003) RETURNING *;
INSERT INTO orders (customer_id, id) VALUES ((SELECT count(*) FROM countries), 7004);
INSERT INTO orders (customer_id, id, note) VALUES (3, 7005, (SELECT name FROM customers WHERE customer_id = 4));
INSERT INTO orders (customer_id, id, note) VALUES ((SELECT id FROM products WHERE name = 'pear'), 7006, 'x');
BEGIN;
CREATE SEQUENCE fresh;
-- refused 0A000
INSERT INTO orders (customer_id, id) SELECT customer_id, nextval('fresh') + 8000 FROM customers WHERE customer_id < 4;
ROLLBACK;
CREATE SEQUENCE old;
INSERT INTO orders (customer_id, id) SELECT customer_id, nextval('old') + 8000 FROM customers WHERE customer_id < 4 ORDER BY 1;
INSERT INTO settings SELECT 'n' || nextval('old'), name FROM countries;
BEGIN;
CREATE TABLE fresh (customer_id int8, id bigserial, x int8);
-- refused 0A000
INSERT INTO fresh (customer_id, x) SELECT customer_id, 1 FROM customers WHERE customer_id < 4;
ROLLBACK;
DROP SEQUENCE old;
PREPARE w (int8) AS UPDATE orders SET note = (SELECT max(name) FROM customers) WHERE customer_id = $1;
EXECUTE w (3);
PREPARE v (int8) AS INSERT INTO orders (customer_id, id) VALUES ($1 + 1, 7100);
EXECUTE v (3);
-- parameters 3
UPDATE orders SET note = (SELECT max(name) FROM customers) WHERE customer_id = $1;
INSERT INTO products SELECT 50, 'x', 1 WHERE false;
INSERT INTO products VALUES ((SELECT max(id) + 1 FROM products), 'quince', 2);
-- parameters 7 | 7200
INSERT INTO orders (customer_id, id) VALUES ((SELECT max(customer_id) FROM customers WHERE customer_id < $1), $2);
INSERT INTO orders (customer_id, id) VALUES ((SELECT customer_id FROM customers WHERE name = 'nobody'), 7201);
-- refused 0A000
INSERT INTO orders (customer_id, id) VALUES ((SELECT customer_id FROM customers), 7202);
SELECT * FROM orders WHERE id > 7000;
-- ARRAY of rows in the order in which a shard has them.
UPDATE countries SET name = name || '!' WHERE code = 'DE';
-- refused 0A000
UPDATE countries SET name = (ARRAY(SELECT name FROM products))[2] WHERE code = 'FR';
UPDATE countries SET name = (ARRAY(SELECT upper(x) FROM unnest(ARRAY['a', 'b']) x))[2] WHERE code = 'FR';
UPDATE countries SET name = 'some' WHERE code = ANY (ARRAY(SELECT CASE WHEN id > 0 THEN 'US' END FROM products));
UPDATE refunds SET amount = (ARRAY(SELECT price FROM products ORDER BY id))[1] WHERE customer_id = 3;
-- refused 0A000
UPDATE refunds SET amount = (ARRAY(SELECT price FROM products ORDER BY id))[1];
SELECT customer_id, ARRAY(SELECT name FROM products ORDER BY id) FROM refunds;
SELECT customer_id FROM refunds WHERE id::int4 = ANY (ARRAY(SELECT id FROM products));
