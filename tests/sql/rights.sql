-- UPDATE of the key is DELETE and INSERT, which need other rights and meet other policies, triggers and rows than it does.
CREATE TABLE secured (customer_id int8, v int4, who text);
INSERT INTO secured VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd');
CREATE ROLE clerk ROLE app;
GRANT SELECT, INSERT, DELETE ON secured TO clerk;
SET ROLE clerk;
SELECT current_user;
UPDATE secured SET customer_id = customer_id + 10 WHERE v = 1;
-- parameters 1
UPDATE secured SET customer_id = customer_id + 10 WHERE v = $1;
WITH m AS (UPDATE secured SET customer_id = customer_id + 10 WHERE v = 1 RETURNING v) SELECT count(*) FROM m;
RESET ROLE;
GRANT UPDATE (v) ON secured TO clerk;
SET ROLE clerk;
UPDATE secured SET customer_id = customer_id + 10 WHERE v = 1;
UPDATE secured SET v = v + 10 WHERE v = 1 RETURNING *;
RESET ROLE;
GRANT UPDATE ON secured TO clerk;
SET ROLE clerk;
UPDATE secured SET customer_id = customer_id + 10 WHERE v = 2 RETURNING *;
RESET ROLE;
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON secured FOR SELECT USING (true);
CREATE POLICY added ON secured FOR INSERT WITH CHECK (v < 100);
CREATE POLICY gone ON secured FOR DELETE USING (true);
CREATE POLICY changed ON secured FOR UPDATE USING (v < 4);
UPDATE secured SET customer_id = customer_id + 10 WHERE v = 3 RETURNING *;
SET ROLE clerk;
-- refused 0A000
UPDATE secured SET customer_id = customer_id + 10 WHERE v = 4 RETURNING *;
UPDATE secured SET who = 'x' WHERE v > 2 RETURNING *;
INSERT INTO secured SELECT customer_id + 1000, v, who FROM secured;
INSERT INTO secured SELECT customer_id + 2000, v + 100, who FROM secured;
SELECT * FROM secured;
RESET ROLE;
INSERT INTO secured SELECT customer_id + 3000, v, who FROM secured;
SELECT * FROM secured;
DROP TABLE secured;
DROP ROLE clerk;
-- Children of a table.
CREATE TABLE elders (customer_id int4, v int4);
CREATE TABLE heirs (extra text) INHERITS (elders);
INSERT INTO heirs VALUES (1, 1, 'keep'), (2, 2, 'keep too');
INSERT INTO elders VALUES (3, 3);
-- refused 0A000
UPDATE elders SET customer_id = customer_id + 10 WHERE customer_id = 1;
UPDATE elders SET v = v + 10 WHERE customer_id = 1;
UPDATE ONLY elders SET customer_id = customer_id + 10 RETURNING *;
UPDATE heirs SET customer_id = customer_id + 10 WHERE v = 2 RETURNING *;
SELECT * FROM elders;
SELECT * FROM heirs;
CREATE TABLE whole (customer_id int4, v int4) PARTITION BY LIST (v);
CREATE TABLE whole_1 PARTITION OF whole FOR VALUES IN (1);
INSERT INTO whole VALUES (1, 1), (2, 1);
UPDATE whole SET customer_id = customer_id + 10;
SELECT * FROM whole;
DROP TABLE heirs, elders, whole;
-- Triggers built in.
CREATE TABLE worded (customer_id int4, body text, words tsvector);
CREATE TRIGGER t BEFORE INSERT ON worded FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger(words, 'pg_catalog.english', body);
INSERT INTO worded VALUES (1, 'one word', NULL), (2, 'two words', NULL);
UPDATE worded SET words = NULL WHERE customer_id = 1;
-- refused 0A000
UPDATE worded SET customer_id = customer_id + 10;
UPDATE worded SET body = 'three';
SELECT * FROM worded;
DROP TABLE worded;
-- Foreign keys whose actions would change the key, and such that do not.
-- refused 0A000
CREATE TABLE c1 (customer_id int4 REFERENCES products (id) ON UPDATE CASCADE, a int4);
-- refused 0A000
CREATE TABLE c1 (customer_id int4 DEFAULT 9 REFERENCES products (id) ON DELETE SET DEFAULT, a int4);
CREATE TABLE c1 (customer_id int4 REFERENCES products (id) ON DELETE CASCADE, a int4 REFERENCES products (id) ON UPDATE CASCADE ON DELETE SET NULL);
INSERT INTO c1 VALUES (1, 2), (2, 3), (3, 3), (4, NULL);
UPDATE products SET id = id + 100 WHERE id = 3;
DELETE FROM products WHERE id = 2;
SELECT * FROM c1;
DROP TABLE c1;
-- A generated key.
-- refused 0A000
CREATE TABLE g1 (x int8, customer_id int8 GENERATED ALWAYS AS (x * 2) STORED);
CREATE TABLE g1 (customer_id int8, x int8 GENERATED ALWAYS AS (customer_id * 2) STORED);
INSERT INTO g1 VALUES (1), (2);
SELECT * FROM g1;
DROP TABLE g1;
