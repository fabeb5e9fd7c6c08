-- Parts of one statement see what was there before it, also by the names of partitions and children, and of tables that a foreign key's action reaches.
CREATE TABLE readings (customer_id int, id int, kind int) PARTITION BY LIST (kind);
CREATE TABLE readings_1 PARTITION OF readings FOR VALUES IN (1);
CREATE TABLE readings_2 PARTITION OF readings FOR VALUES IN (2);
CREATE TABLE notes (customer_id int, id int);
CREATE TABLE notes_kept () INHERITS (notes);
CREATE TABLE others (customer_id int, id int);
INSERT INTO readings SELECT i, i, i % 2 + 1 FROM generate_series(1, 20) i;
INSERT INTO notes SELECT i, i FROM generate_series(1, 20) i;
INSERT INTO notes_kept SELECT i, i FROM generate_series(1, 20) i;
INSERT INTO others SELECT i, i FROM generate_series(1, 20) i;
-- refused 0A000
WITH d AS (DELETE FROM readings WHERE kind = 1 RETURNING *) SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM readings_1);
-- refused 0A000
WITH d AS (DELETE FROM readings_2 RETURNING *) SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM readings);
-- refused 0A000
WITH d AS (INSERT INTO readings SELECT i, i, 1 FROM generate_series(21, 25) i RETURNING id) SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM readings_1);
-- refused 0A000
WITH d AS (DELETE FROM notes_kept RETURNING *) SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM notes);
WITH d AS (DELETE FROM readings WHERE id < 5 RETURNING *) SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM notes_kept), (SELECT count(*) FROM others);
WITH d AS (DELETE FROM others WHERE id < 5 RETURNING *) SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM readings_1);
ALTER TABLE products ADD COLUMN made_in varchar REFERENCES countries ON DELETE CASCADE;
UPDATE products SET made_in = 'FR' WHERE id = 1;
-- refused 0A000
WITH d AS (DELETE FROM countries WHERE code = 'FR' RETURNING *) SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM products);
WITH d AS (DELETE FROM products WHERE id = 2 RETURNING *) SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM countries);
WITH d AS (DELETE FROM countries WHERE code = 'FR' RETURNING *) SELECT count(*) FROM d;
SELECT count(*) FROM products;
