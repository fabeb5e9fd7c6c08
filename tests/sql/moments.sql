-- What each server reads for itself: words for the current time, settings, users' functions that ask for them. `countries` is a reference
-- table, `orders` is sharded.
CREATE FUNCTION told() RETURNS text LANGUAGE sql STABLE AS $$ SELECT now()::text $$;
CREATE FUNCTION plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || '!' $$;
INSERT INTO countries VALUES ('NO', 'buy now');
-- refused 0A000
INSERT INTO countries VALUES ('NO', 'x') ON CONFLICT (code) DO UPDATE SET name = 'now'::timestamptz::text;
INSERT INTO countries VALUES ('NO', 'buy today') ON CONFLICT (code) DO UPDATE SET name = excluded.name || ', not tomorrow';
INSERT INTO countries VALUES ('NO', 'now') ON CONFLICT (code) DO UPDATE SET name = 'now';
UPDATE countries SET name = 'now and then' WHERE code = 'NO';
UPDATE countries SET name = plain(name) WHERE name = 'now and then!';
UPDATE countries SET name = '2020-01-01'::date::text WHERE code = 'NO';
UPDATE countries SET name = left(now()::date::text, 0) WHERE code = 'NO';
UPDATE countries SET name = left("now"()::text, 0) WHERE code = 'NO';
-- refused 0A000
UPDATE countries SET name = ('no' || 'w')::timestamptz::text;
-- refused 0A000
UPDATE countries SET name = name::date::text WHERE code = 'NO';
-- refused 0A000
UPDATE countries SET name = timestamptz('no' || 'w')::text;
-- refused 0A000
UPDATE countries SET name = told();
-- refused 0A000
UPDATE countries SET name = current_setting('port');
-- refused 0A000
UPDATE countries SET name = version();
-- refused 0A000
UPDATE countries SET name = pg_backend_pid()::text;
-- refused 0A000
MERGE INTO countries c USING settings s ON c.code = s.key WHEN MATCHED THEN UPDATE SET name = ('no' || 'w')::date::text;
SELECT code, name FROM countries;
CREATE TABLE orders_copy (customer_id int8, at timestamptz, note text);
INSERT INTO orders_copy (customer_id, at, note) VALUES (1, '2020-01-01', 'now'), (2, '2020-01-01', 'today'), (3, 'epoch', 'x'), (4, 'infinity', 'x');
-- refused 0A000
INSERT INTO orders_copy VALUES (1, 'now'), (2, 'now'), (3, 'now'), (4, 'now'), (5, 'now');
-- refused 0A000
UPDATE orders_copy SET at = 'now';
UPDATE orders_copy SET at = '2021-01-01';
-- refused 0A000
UPDATE orders_copy SET at = 'today';
UPDATE orders_copy SET note = 'today';
UPDATE orders_copy SET note = 'x' WHERE note = 'today';
UPDATE orders_copy SET note = 'y' WHERE note IN ('today', 'now');
-- refused 0A000
ALTER TABLE orders_copy ADD COLUMN made timestamptz DEFAULT now();
-- refused 0A000
ALTER TABLE orders_copy ADD COLUMN made timestamptz DEFAULT 'now';
ALTER TABLE orders_copy ADD COLUMN made text DEFAULT 'now';
-- refused 0A000
ALTER TABLE orders_copy ALTER at SET DEFAULT 'today';
ALTER TABLE orders_copy ALTER at SET DEFAULT now();
-- refused 0A000
ALTER TABLE countries ALTER name TYPE text USING random()::text;
ALTER TABLE countries ALTER name TYPE varchar(30) USING name::varchar(30);
SELECT customer_id, at, note, made FROM orders_copy;
