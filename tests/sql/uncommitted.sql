-- Queries over all shards' rows in blocks that have made or changed what they read.
BEGIN;
CREATE TABLE made (customer_id int8 PRIMARY KEY, status text COLLATE "C", total numeric(8,2), note varchar(5), tags text[], at timestamptz(0), code char(3));
INSERT INTO made SELECT g, chr(64 + g % 9), g * 1.25, 'n' || g % 4, ARRAY['t' || g % 3], '2026-01-01 00:00Z'::timestamptz + g * interval '1 hour', g % 7 FROM generate_series(1, 40) g;
SELECT count(*), sum(total), avg(total) FROM made;
SELECT status, count(*), max(note), min(total) FROM made GROUP BY status;
-- ordered
SELECT status, note, code FROM made ORDER BY status DESC, note, code, customer_id;
-- ordered
SELECT * FROM made ORDER BY at DESC LIMIT 3;
SELECT a.note, b.status FROM made a JOIN made b ON b.customer_id = a.customer_id + 1 WHERE a.total > 40;
SELECT m.note, o.id, m.total FROM made m JOIN orders o ON o.id = m.customer_id;
SELECT DISTINCT tags FROM made;
SELECT string_agg(status, '' ORDER BY status), string_agg(DISTINCT code, ',' ORDER BY code) FROM made;
SELECT customer_id, rank() OVER (ORDER BY note, status) FROM made WHERE customer_id < 12;
SELECT * FROM made WHERE total > (SELECT avg(total) FROM made) AND customer_id < 25;
SELECT status FROM made UNION SELECT status FROM orders;
ALTER TABLE made ADD COLUMN more int4 DEFAULT 7;
SELECT sum(more), count(more) FROM made;
ALTER TABLE made ALTER COLUMN more TYPE text;
SELECT more, count(*) FROM made GROUP BY more;
ALTER TABLE orders ADD COLUMN extra int4 DEFAULT 2;
SELECT extra, count(*), sum(total) FROM orders GROUP BY extra;
SELECT (SELECT max(extra) FROM orders), count(*) FROM refunds;
CREATE VIEW made_view AS SELECT status, count(*) AS n FROM made GROUP BY status;
-- ordered
SELECT * FROM made_view ORDER BY n, status;
INSERT INTO refunds SELECT customer_id, 7, sum(total) FROM made GROUP BY customer_id;
INSERT INTO made (customer_id, status) SELECT customer_id + 1000, status FROM made;
INSERT INTO made (customer_id, status) SELECT DISTINCT id + 5000, note FROM orders ON CONFLICT DO NOTHING;
INSERT INTO made (customer_id, note) SELECT max(customer_id) + 9000, 'too long' FROM made;
ROLLBACK;
BEGIN;
CREATE TABLE made AS SELECT customer_id, sum(total) AS total, count(*) AS n FROM orders GROUP BY customer_id;
SELECT count(*), sum(total), sum(n) FROM made;
CREATE TABLE again AS SELECT n, count(*) AS of FROM made GROUP BY n;
-- ordered
SELECT * FROM again ORDER BY n;
SELECT m.customer_id, a.of FROM made m JOIN again a ON a.n = m.n;
COMMIT;
SELECT m.customer_id, a.of FROM made m JOIN again a ON a.n = m.n;
-- A table that is made is the client's own; one that was replaced has the new columns.
BEGIN;
DROP TABLE again;
CREATE TABLE again (customer_id int8, again text);
INSERT INTO again VALUES (1, 'x'), (2, 'y'), (3, 'z');
SELECT max(again), count(*) FROM again;
DECLARE c CURSOR FOR SELECT again FROM again ORDER BY again COLLATE "de_DE.utf8" DESC;
ROLLBACK;
BEGIN;
CREATE TABLE few (customer_id int8, word text);
INSERT INTO few VALUES (1, 'x'), (2, 'y'), (3, 'z'), (12, 'x');
DECLARE c CURSOR FOR SELECT word, count(*) FROM few GROUP BY word ORDER BY word;
FETCH 2 FROM c;
FETCH 5 FROM c;
CLOSE c;
COPY (SELECT count(*), max(word) FROM few) TO STDOUT;
ROLLBACK;
-- Functions and types are not the merge server's to know before they are committed.
BEGIN;
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TABLE painted (customer_id int8, c colour);
INSERT INTO painted VALUES (1, 'red'), (2, 'green'), (3, 'red');
-- refused 0A000
CREATE TABLE counted AS SELECT c, count(*) FROM painted GROUP BY c;
ROLLBACK;
CREATE FUNCTION twice(int8) RETURNS int8 LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
SELECT twice(count(*)) FROM orders;
BEGIN;
CREATE OR REPLACE FUNCTION twice(int8) RETURNS int8 LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 3';
-- refused 0A000
CREATE TABLE counted AS SELECT twice(count(*)) FROM orders;
ROLLBACK;
BEGIN;
ALTER TABLE made ADD COLUMN z int4;
-- refused 0A000
CREATE TABLE counted AS SELECT m, count(*) FROM made m GROUP BY m;
ROLLBACK;
-- DDL that changes nothing that the catalog tells of, and yet locks readers out.
BEGIN;
ALTER TABLE orders ADD CONSTRAINT noted CHECK (id IS NOT NULL);
SELECT note, count(*) FROM orders GROUP BY note;
SELECT count(*) FROM orders a JOIN orders b ON a.id = b.id + 1;
INSERT INTO refunds SELECT id + 100, 7, sum(total) FROM orders GROUP BY id;
ALTER TABLE orders DROP CONSTRAINT noted;
-- ordered
SELECT note, sum(total) FROM orders GROUP BY note ORDER BY note;
ROLLBACK;
BEGIN;
DROP TABLE refunds;
CREATE TABLE refunds (customer_id int8, id int8, amount numeric);
INSERT INTO refunds VALUES (1, 1, 1), (2, 1, 2), (3, 1, 3);
SELECT id, count(*), max(amount) FROM refunds GROUP BY id;
ROLLBACK;
-- So do TRUNCATE and LOCK TABLE.
BEGIN;
TRUNCATE refunds;
INSERT INTO refunds VALUES (1, 1, 1), (2, 1, 2), (3, 2, 3);
SELECT count(*) FROM refunds;
SELECT id, count(*), sum(amount) FROM refunds GROUP BY id;
SELECT r.id, o.total FROM refunds r JOIN orders o ON o.id = r.id AND o.customer_id = 3;
SELECT count(*) AS settings FROM orders;
INSERT INTO refunds SELECT id + 500, 9, count(*) FROM refunds GROUP BY id;
SELECT * FROM refunds WHERE amount >= (SELECT avg(amount) FROM refunds);
DECLARE c CURSOR FOR SELECT id, count(*) FROM refunds GROUP BY id ORDER BY id;
FETCH 2 FROM c;
ROLLBACK;
SELECT count(*), sum(amount) FROM refunds;
BEGIN;
LOCK TABLE orders, items;
SELECT count(*), sum(total) FROM orders;
SELECT o.note, count(*) FROM orders o JOIN items i ON i.order_id = o.id GROUP BY o.note;
TRUNCATE items CASCADE;
SELECT count(*), max(quantity) FROM items;
SELECT c.country, count(*) FROM customers c JOIN orders o ON o.id = c.customer_id GROUP BY c.country;
COPY (SELECT max(total), count(*) FROM orders) TO STDOUT;
ROLLBACK;
BEGIN;
TRUNCATE settings;
INSERT INTO settings SELECT 'n' || note, max(id)::text FROM orders GROUP BY note ON CONFLICT DO NOTHING;
SELECT s.key, count(*) FROM settings s JOIN orders o ON s.key = 'n' || o.note GROUP BY s.key;
ROLLBACK;
CREATE MATERIALIZED VIEW by_note AS SELECT note, sum(total) AS total FROM orders GROUP BY note;
BEGIN;
REFRESH MATERIALIZED VIEW by_note;
SELECT count(*), sum(m.total) FROM orders o JOIN by_note m ON m.note = o.note;
COMMIT;
BEGIN;
DROP MATERIALIZED VIEW by_note;
CREATE MATERIALIZED VIEW by_note AS SELECT note, count(*) AS total FROM orders GROUP BY note;
SELECT count(*), sum(m.total) FROM orders o JOIN by_note m ON m.note = o.note;
ROLLBACK;
DROP MATERIALIZED VIEW by_note;
