-- Reference tables are everywhere, home tables in one place; both look like tables.
SELECT * FROM countries;
-- ordered
SELECT * FROM countries ORDER BY code;
SELECT count(*) FROM countries;
SELECT * FROM countries c JOIN products p ON p.id = length(c.code);
SELECT * FROM settings;
SELECT key FROM settings WHERE value IS NULL;
SELECT count(*), max(value) FROM settings;
INSERT INTO settings VALUES ('new', '1');
INSERT INTO settings VALUES ('new', '2');
INSERT INTO settings VALUES ('new', '2') ON CONFLICT (key) DO UPDATE SET value = excluded.value RETURNING *;
UPDATE settings SET value = value || 'x' WHERE key = 'new' RETURNING value;
UPDATE settings SET value = 'all';
DELETE FROM settings WHERE key = 'new';
INSERT INTO settings SELECT code, name FROM countries;
SELECT * FROM settings;
DELETE FROM settings WHERE key IN (SELECT code FROM countries);
BEGIN;
INSERT INTO settings VALUES ('undone', '1');
SELECT * FROM settings WHERE key = 'undone';
ROLLBACK;
SELECT * FROM settings WHERE key = 'undone';
-- Writes to reference tables need all shards at once.
INSERT INTO countries VALUES ('IT', 'Italy');
INSERT INTO countries VALUES ('ES', 'Spain'), ('PT', 'Portugal');
UPDATE countries SET name = 'Italia' WHERE code = 'IT';
DELETE FROM countries WHERE code = 'PT';
INSERT INTO countries VALUES ('IT', 'again');
INSERT INTO countries VALUES ('RR', (random() < 2)::text) RETURNING name;
INSERT INTO countries VALUES ('NN', (now() > '2020-01-01')::text) RETURNING *;
INSERT INTO countries VALUES ('LL', left(random()::text, 0) || repeat('x', 1000));
INSERT INTO countries VALUES ('ML', left(random()::text, 0) || repeat('x', 300000));
INSERT INTO countries VALUES ('CL', repeat('x', 300000));
-- What is computed before it is stored is held whole.
-- refused 54000
INSERT INTO countries VALUES ('TL', left(random()::text, 0) || repeat('x', 70000000));
INSERT INTO countries SELECT 'X' || id::text, name FROM products WHERE id < 3;
INSERT INTO countries SELECT key, value FROM settings WHERE key = 'no';
UPDATE products SET price = price * 2 WHERE id = 1;
SELECT code, length(name), left(name, 20) FROM countries;
SELECT * FROM products;
SELECT c.customer_id, n.name FROM customers c JOIN countries n ON n.code = c.country WHERE c.customer_id = 3;
SELECT c.customer_id, n.name FROM customers c JOIN countries n ON n.code = c.country;
UPDATE customers SET name = n.name FROM countries n WHERE n.code = customers.country AND customers.customer_id = 3;
TRUNCATE settings;
INSERT INTO settings SELECT name, 'x' FROM customers WHERE customer_id = 3;
