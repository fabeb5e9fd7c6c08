-- Elements and fields of columns, whose values are of another type than the column.
CREATE TYPE placed AS (at timestamptz, n int4);
CREATE TABLE pieces (customer_id int, n int4[], j jsonb, p placed);
CREATE SEQUENCE numbers;
ALTER TABLE countries ADD COLUMN n int4[], ADD COLUMN p placed;
INSERT INTO countries (code, n[1], n[2]) VALUES ('AA', 1, 2), ('AB', NULL, 4);
INSERT INTO countries (code, p.n, p.at) VALUES ('AC', 1, '2020-01-01');
-- refused 0A000
INSERT INTO countries (code, p.n, p.at) VALUES ('AD', 1, now());
-- refused 0A000
INSERT INTO countries (code, p.n) VALUES ('AD', (random() * 10)::int);
-- refused 0A000
INSERT INTO countries (code, n[1]) VALUES ('AD', nextval('numbers'));
INSERT INTO countries (code, n) VALUES ('AD', ARRAY[(random() * 0)::int]);
INSERT INTO pieces (customer_id, n[2], j['a'], j['b']) VALUES (1, 2, '1', '2'), (2, 3, '3', '4'), (3, 4, '5', to_jsonb(now() IS NULL));
-- refused 0A000
INSERT INTO pieces (customer_id, n[2]) VALUES (4, nextval('numbers'));
INSERT INTO pieces (customer_id, n[2]) VALUES (3 + 4, 5), (abs(-8), 6);
UPDATE pieces SET n[1] = 1 + n[2], j['c'] = '7';
INSERT INTO pieces (customer_id, p.n) SELECT customer_id, n[1] FROM pieces WHERE customer_id < 3;
SELECT * FROM pieces;
SELECT * FROM countries;
