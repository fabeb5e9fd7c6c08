-- Partitions and children of tables that the configuration names: they are of their parent's kind.

DROP TABLE lineitem;
CREATE TABLE lineitem (l_orderkey int4, l_linenumber int4, day date, PRIMARY KEY (l_orderkey, day)) PARTITION BY RANGE (day);
CREATE TABLE lineitem_2026 PARTITION OF lineitem FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE lineitem_2027 PARTITION OF lineitem (UNIQUE (l_orderkey)) FOR VALUES FROM ('2027-01-01') TO ('2028-01-01') PARTITION BY LIST (l_linenumber);
CREATE TABLE lineitem_2027_1 PARTITION OF lineitem_2027 FOR VALUES IN (1, 2, 3);
-- refused 0A000
CREATE TABLE lineitem_2028 PARTITION OF lineitem (UNIQUE (day)) FOR VALUES FROM ('2028-01-01') TO ('2029-01-01');
-- refused 0A000
CREATE TABLE lineitem_2028 PARTITION OF lineitem (FOREIGN KEY (l_linenumber) REFERENCES customers) FOR VALUES FROM ('2028-01-01') TO ('2029-01-01');
INSERT INTO lineitem SELECT n, n % 3 + 1, date '2026-06-01' + n * 20 FROM generate_series(1, 25) n;
INSERT INTO lineitem_2026 VALUES (50, 1, '2026-02-02'), (51, 2, '2026-02-02'), (52, 3, '2026-02-02');
SELECT * FROM lineitem_2026;
SELECT * FROM lineitem_2027_1 WHERE l_orderkey = 20;
SELECT count(*), sum(l_orderkey) FROM lineitem;
UPDATE lineitem_2026 SET l_linenumber = 9 WHERE l_orderkey = 51;
DELETE FROM lineitem WHERE l_orderkey = 52;
ALTER TABLE lineitem_2026 RENAME TO old_items;
SELECT * FROM old_items;
-- It would be a home table.
-- refused 0A000
ALTER TABLE lineitem DETACH PARTITION old_items;
CREATE TABLE spare (l_orderkey int4 NOT NULL, l_linenumber int4, day date NOT NULL);
-- refused 0A000
ALTER TABLE lineitem ATTACH PARTITION spare DEFAULT;
DROP TABLE spare;

-- In the block that makes them.
BEGIN;
CREATE TABLE lineitem_2030 PARTITION OF lineitem FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
INSERT INTO lineitem VALUES (1, 1, '2030-01-01'), (2, 2, '2030-01-01'), (3, 3, '2030-01-01'), (4, 4, '2030-01-01'), (5, 5, '2030-01-01');
SELECT count(*) FROM lineitem_2030;
COMMIT;
SELECT * FROM lineitem_2030;
DROP TABLE lineitem_2030;

-- Inheritance, of a reference table.
CREATE TABLE gadgets (volt int4, customer_id int8) INHERITS (products);
INSERT INTO gadgets VALUES (7, 'lamp', 9.99, 12, 1);
SELECT * FROM products;
SELECT p.name, o.id FROM gadgets p JOIN orders o USING (customer_id);
-- refused 0A000
CREATE TABLE strays (LIKE settings) INHERITS (products, orders);
-- refused 0A000
ALTER TABLE gadgets NO INHERIT products;
ALTER TABLE gadgets RENAME TO tools;
ALTER TABLE tools ADD COLUMN colour text;
SELECT * FROM tools;
CREATE TABLE copies (LIKE products);
INSERT INTO copies SELECT id, name, price FROM products;
SELECT count(*) FROM copies;
DROP TABLE tools;

-- Of a home table, with a column that would shard it by itself.
CREATE TABLE cities (name text);
CREATE TABLE capitals (customer_id int8) INHERITS (cities);
INSERT INTO cities VALUES ('z');
INSERT INTO capitals VALUES ('a', 1), ('b', 2), ('c', 3), ('d', 4), ('e', 5), ('f', 6);
SELECT * FROM cities;
SELECT count(*) FROM ONLY cities;
SELECT name FROM capitals WHERE customer_id = 3;
UPDATE capitals SET customer_id = customer_id + 1 WHERE name < 'c';
DELETE FROM cities WHERE name = 'c';
SELECT * FROM capitals;
-- refused 0A000
ALTER TABLE capitals NO INHERIT cities;
-- refused 0A000
ALTER TABLE cities ADD COLUMN customer_id int8;
DROP TABLE capitals, cities;

-- The same column, added to a child: its rows stay where they are.
CREATE TABLE cities (name text);
CREATE TABLE capitals (state text, number int8) INHERITS (cities);
INSERT INTO capitals VALUES ('a', 's', 1), ('b', 't', 2), ('c', 'u', 3), ('d', 'v', 4), ('e', 'w', 5), ('f', 'x', 6);
ALTER TABLE capitals ADD COLUMN customer_id int8;
UPDATE capitals SET customer_id = number;
SELECT name FROM capitals WHERE customer_id = 3;
SELECT count(*) FROM cities;
INSERT INTO capitals VALUES ('g', 'y', 7, 7);
SELECT * FROM capitals;
-- refused 0A000
ALTER TABLE capitals NO INHERIT cities;
ALTER TABLE capitals DROP COLUMN customer_id;
-- refused 0A000
ALTER TABLE capitals NO INHERIT cities, ADD COLUMN customer_id int8;
-- refused 0A000
ALTER TABLE capitals ADD COLUMN customer_id int8, NO INHERIT cities;
ALTER TABLE capitals RENAME COLUMN number TO customer_id;
SELECT name FROM capitals WHERE customer_id = 7;
SELECT * FROM cities;
BEGIN;
ALTER TABLE capitals RENAME COLUMN customer_id TO number;
ALTER TABLE capitals NO INHERIT cities;
-- refused 0A000
ALTER TABLE capitals ADD COLUMN customer_id int8;
ROLLBACK;
DROP TABLE capitals, cities;
