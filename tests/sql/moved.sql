-- UPDATE of the key to what other shards' rows say, and together with other things.
UPDATE refunds SET customer_id = (SELECT max(customer_id) + 1 FROM orders) WHERE id = 1;
UPDATE refunds SET customer_id = (SELECT min(customer_id) FROM orders), amount = amount + 1 WHERE id = 2 RETURNING *;
UPDATE refunds r SET customer_id = (SELECT max(o.customer_id) FROM orders o WHERE o.id = r.id) WHERE r.id < 4 AND EXISTS (SELECT 1 FROM orders o WHERE o.id = r.id) RETURNING r.id, customer_id + 1 AS k;
UPDATE refunds r SET customer_id = (SELECT o.customer_id + 1 FROM orders o WHERE o.customer_id = r.customer_id AND o.id = 1) WHERE r.customer_id < 3;
UPDATE refunds SET customer_id = (SELECT value::int FROM settings WHERE key = 'size') WHERE customer_id = 2 RETURNING *;
UPDATE refunds SET customer_id = (SELECT id FROM products WHERE name = 'plum') WHERE customer_id = 7 RETURNING *;
-- refused 23502
UPDATE refunds SET customer_id = (SELECT value::int FROM settings WHERE key = 'nothing') WHERE customer_id = 3;
UPDATE refunds SET customer_id = (SELECT value::int FROM settings WHERE key = 'nothing') WHERE customer_id = 30000;
UPDATE refunds SET customer_id = (SELECT customer_id FROM orders) WHERE id = 3;
UPDATE refunds SET customer_id = 5 WHERE id IN (SELECT id FROM orders WHERE total > (SELECT avg(total) FROM orders));
UPDATE refunds SET customer_id = customer_id + (SELECT count(*) FROM products)::int WHERE id = 4 RETURNING *;
UPDATE refunds SET customer_id = c.m FROM (SELECT max(customer_id) AS m FROM customers) c WHERE refunds.id = 5;
UPDATE refunds SET customer_id = c.m FROM (SELECT max(customer_id) AS m FROM customers) c WHERE refunds.id = 5 RETURNING refunds.*;
-- refused 0A000
UPDATE refunds SET customer_id = c.m FROM (SELECT max(customer_id) - 1 AS m FROM customers) c WHERE refunds.id = 5 RETURNING refunds.id, c.m;
-- refused 0A000
UPDATE refunds r SET customer_id = o.id FROM orders o WHERE o.customer_id = r.customer_id AND o.id = r.id + 1 RETURNING r.*, o.id;
UPDATE refunds r SET customer_id = o.customer_id FROM orders o WHERE o.id = r.id AND o.customer_id = 3;
-- refused 0A000
WITH w AS (SELECT max(customer_id) AS m FROM orders) UPDATE refunds SET customer_id = (SELECT m FROM w) WHERE id = 3 RETURNING *;
WITH w AS (SELECT max(customer_id) AS m FROM orders) UPDATE refunds SET customer_id = w.m - 1 FROM w WHERE id = 3;
UPDATE refunds SET (customer_id, amount) = (4, 9) WHERE id = 2;
UPDATE refunds SET (customer_id, amount) = (customer_id + 1, 9) WHERE id = 2 RETURNING *;
UPDATE refunds SET (amount, customer_id) = (SELECT max(total), min(customer_id) FROM orders) WHERE id = 2 RETURNING *;
UPDATE orders SET customer_id = 6, ts = date_trunc('millennium', now()) WHERE id = 19;
UPDATE orders SET customer_id = customer_id + 1, ts = date_trunc('millennium', now()), id = id + 700 WHERE id = 3 RETURNING customer_id, id, ts;
UPDATE orders SET customer_id = customer_id + 1, note = DEFAULT, id = id + 700 WHERE id = 4 RETURNING customer_id, id, note;
-- parameters 7 | 2
UPDATE refunds SET customer_id = $1 + (SELECT count(*) FROM products)::int8 WHERE id = $2 RETURNING *;
-- parameters 3
UPDATE refunds SET customer_id = (SELECT max(customer_id) FROM orders WHERE customer_id < $1) WHERE id = $1 RETURNING *;
-- parameters 3 | 1
UPDATE refunds SET customer_id = (SELECT max(customer_id) FROM orders WHERE customer_id < $1), amount = $2 WHERE id = $1;
PREPARE m(int8, int8) AS UPDATE refunds SET customer_id = (SELECT max(customer_id) FROM orders WHERE customer_id < $1) WHERE id = $2 RETURNING *;
EXECUTE m(5, 1);
EXECUTE m(9, 1);
DEALLOCATE m;
BEGIN;
UPDATE refunds SET customer_id = (SELECT max(customer_id) + 1 FROM orders) WHERE id = 6;
SAVEPOINT a;
UPDATE refunds SET customer_id = (SELECT 1 / (count(*) - count(*)) FROM orders) WHERE id = 6;
ROLLBACK TO a;
UPDATE refunds SET customer_id = (SELECT min(customer_id) FROM orders) WHERE id = 6 RETURNING *;
COMMIT;
-- Foreign keys.
CREATE TABLE parents (customer_id int8 PRIMARY KEY, n int4);
CREATE TABLE children (customer_id int8 REFERENCES parents, n int4 CHECK (n < 100));
CREATE TABLE followers (customer_id int8 REFERENCES parents ON UPDATE CASCADE, n int4);
INSERT INTO parents VALUES (1, 1), (2, 2), (3, 3), (4, 4);
INSERT INTO children VALUES (1, 1), (2, 2);
UPDATE children SET customer_id = (SELECT max(customer_id) FROM parents) WHERE n = 1 RETURNING *;
UPDATE children SET customer_id = (SELECT max(customer_id) + 1 FROM parents) WHERE n = 1 RETURNING *;
UPDATE children SET customer_id = (SELECT max(customer_id) - 1 FROM parents), n = 100 WHERE n = 1 RETURNING *;
-- refused 0A000
UPDATE parents SET customer_id = (SELECT max(customer_id) + 5 FROM children) WHERE customer_id = 4;
-- refused 0A000
UPDATE parents SET customer_id = (SELECT max(customer_id) + 5 FROM children) WHERE customer_id = 3;
DROP TABLE followers;
UPDATE parents SET customer_id = (SELECT max(customer_id) + 5 FROM children) WHERE customer_id = 3;
UPDATE parents SET customer_id = (SELECT max(customer_id) + 6 FROM children) WHERE customer_id = 2;
UPDATE parents SET customer_id = (SELECT max(customer_id) FROM children) WHERE customer_id = 1;
DROP TABLE children, parents;
-- The key among what is set, as it is: tools that write rows list every column.
INSERT INTO customers (customer_id, name) VALUES (3, 'upserted'), (901, 'new'), (902, 'new') ON CONFLICT (customer_id) DO UPDATE SET customer_id = excluded.customer_id, name = excluded.name RETURNING customer_id, name;
INSERT INTO customers AS c (customer_id, name) VALUES (3, 'again'), (901, 'again') ON CONFLICT (customer_id) DO UPDATE SET customer_id = c.customer_id, name = c.name || excluded.name RETURNING c.customer_id, c.name;
INSERT INTO customers (customer_id, name) VALUES (901, 'row'), (4, 'row') ON CONFLICT (customer_id) DO UPDATE SET (customer_id, name) = (excluded.customer_id, excluded.name), vip = true RETURNING *;
INSERT INTO customers (customer_id, name) VALUES (901, 'row') ON CONFLICT (customer_id) DO UPDATE SET (name, customer_id) = ROW (excluded.name, customers.customer_id) RETURNING *;
-- parameters 903 | given
INSERT INTO customers (customer_id, name) VALUES ($1, $2) ON CONFLICT (customer_id) DO UPDATE SET customer_id = excluded.customer_id, name = excluded.name;
INSERT INTO customers (customer_id, name) SELECT customer_id + 900, 'selected' FROM customers WHERE customer_id < 4 ON CONFLICT (customer_id) DO UPDATE SET customer_id = excluded.customer_id, name = excluded.name;
SELECT * FROM customers WHERE customer_id > 900 OR customer_id < 5;
UPDATE customers SET customer_id = customers.customer_id, name = 'named' WHERE customer_id > 900;
UPDATE customers c SET (customer_id, name) = (c.customer_id, 'both') WHERE c.customer_id IN (901, 902) RETURNING c.customer_id;
MERGE INTO customers c USING (VALUES (901::int8, 'merged'), (902, 'merged')) v (id, name) ON v.id = c.customer_id WHEN MATCHED THEN UPDATE SET customer_id = c.customer_id, name = v.name;
SELECT * FROM customers WHERE customer_id > 900;
-- refused 0A000
INSERT INTO customers (customer_id, name) VALUES (3, 'x') ON CONFLICT (customer_id) DO UPDATE SET customer_id = excluded.customer_id + 1;
-- refused 0A000
INSERT INTO customers (customer_id, name) VALUES (3, 'x') ON CONFLICT (customer_id) DO UPDATE SET customer_id = 4;
-- refused 0A000
INSERT INTO customers AS c (customer_id, name) VALUES (3, 'x') ON CONFLICT (customer_id) DO UPDATE SET (customer_id, name) = (SELECT excluded.customer_id, 'y');
-- refused 0A000
MERGE INTO customers c USING (VALUES (901::int8), (902)) v (id) ON v.id = c.customer_id WHEN MATCHED THEN UPDATE SET customer_id = v.id;
DELETE FROM customers WHERE customer_id > 900;
-- The key as the condition has it: no row moves, and what follows a moved one is nobody's business.
CREATE TABLE parents (customer_id int8, id int8, note text, PRIMARY KEY (customer_id, id));
CREATE TABLE children (customer_id int8, id int8, FOREIGN KEY (customer_id, id) REFERENCES parents ON UPDATE CASCADE ON DELETE CASCADE);
INSERT INTO parents VALUES (1, 1, 'a'), (3, 1, 'a'), (4, 1, 'b');
INSERT INTO children VALUES (3, 1), (4, 1);
UPDATE parents SET customer_id = 3, note = 'c' WHERE customer_id = 3;
UPDATE parents p SET (customer_id, id, note) = (4, 1, 'd') WHERE p.id = 1 AND p.customer_id = 4 RETURNING *;
-- parameters 3 | e
UPDATE parents SET customer_id = $1, note = $2 WHERE customer_id = $1;
UPDATE parents SET customer_id = 3, note = date_trunc('millennium', now())::text WHERE customer_id = 3 AND id = 1;
-- parameters 4
UPDATE parents SET customer_id = $1, note = date_trunc('millennium', CURRENT_TIMESTAMP)::text WHERE customer_id = $1 RETURNING note;
-- refused 0A000
UPDATE parents SET customer_id = 3 WHERE customer_id = 4;
-- refused 0A000
UPDATE parents SET customer_id = 3 WHERE customer_id IN (3, 4);
-- refused 0A000
UPDATE parents SET customer_id = 3 WHERE customer_id > 3;
-- parameters 3 | 4
-- refused 0A000
UPDATE parents SET customer_id = $1 WHERE customer_id = $2;
SELECT * FROM parents;
SELECT * FROM children;
DROP TABLE children, parents;
-- A foreign key whose action follows the rows of one partition.
CREATE TABLE parents (customer_id int8, id int8, PRIMARY KEY (customer_id, id)) PARTITION BY LIST (id);
CREATE TABLE parents_1 PARTITION OF parents FOR VALUES IN (1);
CREATE TABLE children (customer_id int8, id int8, FOREIGN KEY (customer_id, id) REFERENCES parents_1 ON DELETE CASCADE);
INSERT INTO parents VALUES (3, 1), (4, 1);
INSERT INTO children VALUES (3, 1), (4, 1);
-- refused 0A000
UPDATE parents SET customer_id = 9 WHERE customer_id = 3;
UPDATE parents SET customer_id = 3 WHERE customer_id = 3;
SELECT * FROM parents;
SELECT * FROM children;
DROP TABLE children, parents;
