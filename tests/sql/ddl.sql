-- DDL goes everywhere, and the catalog follows at once.
CREATE TABLE fresh (customer_id int4 PRIMARY KEY, x int);
INSERT INTO fresh VALUES (1, 1);
INSERT INTO fresh VALUES (2, 2);
INSERT INTO fresh VALUES (3, 3);
SELECT * FROM fresh;
SELECT * FROM fresh WHERE customer_id = 2;
ALTER TABLE fresh ADD COLUMN y text DEFAULT 'y';
SELECT * FROM fresh WHERE customer_id = 2;
SELECT y FROM fresh;
INSERT INTO fresh VALUES (4, 4, 'four');
ALTER TABLE fresh RENAME COLUMN x TO z;
SELECT z FROM fresh WHERE customer_id = 2;
ALTER TABLE fresh RENAME TO renamed;
SELECT * FROM fresh WHERE customer_id = 2;
SELECT * FROM renamed WHERE customer_id = 2;
ALTER TABLE renamed DROP COLUMN z;
SELECT * FROM renamed WHERE customer_id = 2;
INSERT INTO renamed VALUES (5, 'five');
SELECT * FROM renamed WHERE customer_id = 5;
CREATE INDEX renamed_y ON renamed (y);
CREATE UNIQUE INDEX CONCURRENTLY renamed_both ON renamed (customer_id, y);
DROP INDEX renamed_y;
ALTER TABLE renamed ADD CONSTRAINT short CHECK (length(y) < 10);
INSERT INTO renamed VALUES (6, 'a very long text');
ALTER TABLE renamed ADD CONSTRAINT short CHECK (length(y) < 10);
CREATE TABLE renamed (x int);
CREATE TABLE IF NOT EXISTS renamed (x int);
DROP TABLE renamed;
DROP TABLE renamed;
DROP TABLE IF EXISTS renamed;
SELECT * FROM renamed WHERE customer_id = 1;
-- A home table, then with a key.
CREATE TABLE notes (id int PRIMARY KEY, t text);
INSERT INTO notes VALUES (1, 'a'), (2, 'b');
SELECT * FROM notes;
DROP TABLE notes;
CREATE TABLE notes (customer_id int8, t text);
INSERT INTO notes VALUES (1, 'a');
INSERT INTO notes VALUES (2, 'b');
SELECT * FROM notes WHERE customer_id = 2;
SELECT * FROM notes;
DROP TABLE notes;
-- Transactional.
BEGIN;
CREATE TABLE undone (customer_id int8, x int);
-- refused 0A000
INSERT INTO undone VALUES (1, 1);
ROLLBACK;
SELECT * FROM undone WHERE customer_id = 1;
BEGIN;
CREATE TABLE done (customer_id int8, x int);
ALTER TABLE done ADD COLUMN y int;
COMMIT;
INSERT INTO done VALUES (1, 1, 1);
SELECT * FROM done;
DROP TABLE done;
-- An unlogged table, identity, generated columns, partitions, comments, grants.
CREATE UNLOGGED TABLE fast (customer_id int8, x int, doubled int GENERATED ALWAYS AS (x * 2) STORED);
INSERT INTO fast VALUES (1, 5);
SELECT * FROM fast WHERE customer_id = 1;
COMMENT ON TABLE fast IS 'fast';
GRANT SELECT ON fast TO PUBLIC;
DROP TABLE fast;
CREATE TABLE parted (customer_id int8, day date, x int) PARTITION BY RANGE (day);
CREATE TABLE parted_2026 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO parted VALUES (1, '2026-05-05', 1);
INSERT INTO parted VALUES (2, '2026-05-05', 2);
INSERT INTO parted VALUES (2, '2020-05-05', 2);
SELECT * FROM parted WHERE customer_id = 1;
SELECT * FROM parted;
SELECT * FROM parted_2026;
DROP TABLE parted;
CREATE TABLE linked (customer_id int8 REFERENCES customers, x int);
INSERT INTO linked VALUES (3, 1);
INSERT INTO linked VALUES (99, 1);
DROP TABLE linked;
-- An unusable key.
CREATE TABLE floats (customer_id float8, x int);
-- refused 0A000
INSERT INTO floats VALUES (1.5, 1);
-- refused 0A000
SELECT * FROM floats;
DROP TABLE floats;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
-- either
SELECT encode(digest('x', 'md5'), 'hex');
DROP EXTENSION pgcrypto;
VACUUM orders;
ANALYZE orders;
REINDEX TABLE orders;
CLUSTER orders USING orders_pkey;
