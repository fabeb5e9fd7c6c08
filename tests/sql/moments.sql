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
-- Types that read no time, whatever they are called or made of.
CREATE DOMAIN email AS text;
CREATE DOMAIN mail AS email CHECK (value <> '');
CREATE DOMAIN moment AS timestamptz;
CREATE TYPE mood AS ENUM ('now', 'sad');
CREATE TYPE pair AS (a text, b int);
CREATE TYPE stamped AS (a timestamptz, b text);
ALTER TABLE countries ADD COLUMN e email, ADD COLUMN m mood, ADD COLUMN p pair, ADD COLUMN jp jsonpath, ADD COLUMN ca char(8)[], ADD COLUMN ja jsonb[], ADD COLUMN ea mail[], ADD COLUMN s stamped, ADD COLUMN at moment;
INSERT INTO countries (code, e) VALUES ('A1', 'see you tomorrow');
INSERT INTO countries (code, m, jp) VALUES ('A2', 'now', '$.now');
INSERT INTO countries (code, p) VALUES ('A3', '("see you now",1)');
INSERT INTO countries (code, p) VALUES ('A4', ROW('see you now', 1));
INSERT INTO countries (code, ca, ja, ea) VALUES ('A5', ARRAY['now', 'x'], '{"\"now\""}', '{now}');
-- parameters A6
INSERT INTO countries (code, e) VALUES ($1, 'see you tomorrow');
INSERT INTO countries (code, e) VALUES ('A7', left(('now'::text)::timestamp::text, 0));
-- refused 0A000
INSERT INTO countries (code, s) VALUES ('B1', '("now",today)');
-- refused 0A000
-- parameters B1
INSERT INTO countries (code, s) VALUES ($1, '("now",today)');
-- Values of parameters.
-- parameters A8 | see you now | now
INSERT INTO countries (code, e, m) VALUES ($1, $2, $3);
-- parameters A9 | 2020-01-01
INSERT INTO countries (code, at) VALUES ($1, $2);
-- refused 0A000
-- parameters B3 | ("2020-01-01","now and then")
INSERT INTO countries (code, s) VALUES ($1, $2);
-- refused 0A000
-- parameters B4 | now
INSERT INTO countries (code, at) VALUES ($1, $2);
-- refused 0A000
-- parameters tomorrow
UPDATE countries SET at = $1;
-- refused 0A000
-- parameters B5 | today
INSERT INTO countries (code, name) SELECT $1, ($2::date + 1)::text;
INSERT INTO countries (code, s) VALUES ('B2', '("2020-01-01",x)');
UPDATE countries SET e = 'now' WHERE e = 'see you tomorrow';
UPDATE countries SET e = coalesce(e, 'now'), m = CASE WHEN code = 'A1' THEN 'now' ELSE m END, ca = ARRAY['now', e::text] WHERE code < 'A4';
UPDATE countries SET (e, m) = ('today', 'now') WHERE code = 'A5';
DELETE FROM countries WHERE e = 'now' AND code = 'A1';
-- refused 0A000
UPDATE countries SET at = 'now';
-- refused 0A000
UPDATE countries SET at = e::timestamptz WHERE code = 'A6';
-- refused 0A000
UPDATE countries SET (e, at) = ('now', 'now');
-- refused 0A000
UPDATE countries SET name = (ca::timestamptz[])::text WHERE code = 'A6';
-- refused 0A000
UPDATE countries SET name = 'countries'::regclass::oid::text;
-- refused 0A000
UPDATE countries SET name = mxid_age('5'::xid)::text;
-- refused 0A000
UPDATE countries SET name = pg_typeof(m)::oid::text;
-- refused 0A000
UPDATE countries SET name = (SELECT x::text FROM xmltable('/a' PASSING ('<a>now</a>'::xml) COLUMNS x timestamptz PATH '.'));
UPDATE countries SET name = '2020-01-01'::date::timestamptz::text, at = '2020-01-01'::timestamptz WHERE code = 'A6';
UPDATE countries SET name = (at::date + 3)::text WHERE code = 'A6';
SELECT code, name, e, m, p, jp, ca, ja, ea::text, s, at FROM countries WHERE code ~ '[0-9]';
-- The same on a sharded table.
CREATE TABLE ms (customer_id int, body text, dm email, j jsonb, jp jsonpath, ta text[], at timestamptz);
INSERT INTO ms (customer_id, dm) VALUES (11, 'see you tomorrow'), (12, 'x'), (13, 'x');
INSERT INTO ms (customer_id, jp, ta) VALUES (1, '$.now', '{now}'), (2, '$.now', ARRAY['today']), (3, '$.x', ARRAY['x', 'now']), (4, NULL, NULL);
UPDATE ms SET body = concat(body, ' today');
-- parameters now
UPDATE ms SET body = $1;
-- refused 0A000
-- parameters now
UPDATE ms SET at = $1;
-- refused 0A000
-- parameters now
INSERT INTO ms (customer_id, at) VALUES (1, $1), (2, $1), (3, $1), (4, $1), (5, $1);
-- refused 0A000
-- parameters today
DELETE FROM ms WHERE at > $1;
UPDATE ms SET body = format('%s today', customer_id) WHERE customer_id < 12;
UPDATE ms SET body = replace(body, 'today', 'now');
UPDATE ms SET body = coalesce(body, 'now');
UPDATE ms SET j = jsonb_build_object('today', CASE WHEN customer_id > 3 THEN 'now' ELSE 'today' END);
UPDATE ms SET ta = ARRAY['now', body] WHERE customer_id > 2;
UPDATE ms SET (body, dm) = (body || ' now', 'x') WHERE dm IS NULL;
UPDATE ms SET body = CASE body WHEN 'now' THEN 'today' ELSE body END;
DELETE FROM ms WHERE j->>'today' = 'today' AND customer_id = 1;
DELETE FROM ms WHERE dm = 'now' OR dm = 'see you tomorrow';
-- refused 0A000
UPDATE ms SET at = coalesce(at, 'now');
-- refused 0A000
UPDATE ms SET body = coalesce(at, 'now');
-- refused 0A000
UPDATE ms SET (body, at) = ('now', 'now');
-- refused 0A000
UPDATE ms SET at = ('now'::text)::timestamp;
-- refused 0A000
UPDATE ms SET at = concat('now', '')::timestamptz;
-- refused 0A000
UPDATE ms SET body = CASE WHEN at > 'today' THEN 'a' ELSE 'b' END;
SELECT * FROM ms;
-- The idiom of old dumps for the current date.
ALTER TABLE ms ALTER at SET DEFAULT ('now'::text)::timestamp;
INSERT INTO ms (customer_id) VALUES (21), (22), (23), (24), (25), (26);
INSERT INTO ms (customer_id) SELECT customer_id + 10 FROM ms WHERE customer_id > 20;
INSERT INTO ms (customer_id) SELECT customer_id FROM ms WHERE customer_id > 30;
SELECT count(DISTINCT at) FROM ms;
SELECT count(DISTINCT x) FROM (SELECT ('now'::text)::timestamp x FROM ms) q;
MERGE INTO ms USING (SELECT customer_id + 1 AS c FROM ms) s ON ms.customer_id = s.c WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (s.c);
SELECT count(DISTINCT at) FROM ms;
UPDATE ms SET at = NULL;
ALTER TABLE countries DROP COLUMN s, DROP COLUMN ea;
DROP TYPE stamped;
-- Of rows of one key another would be the first on each shard: they are read once.
INSERT INTO countries (code, name) VALUES ('X1', 'one'), ('X2', 'two'), ('X3', 'two');
INSERT INTO countries (code, name) SELECT 'Y1', name FROM countries WHERE code IN ('X2', 'X3') ON CONFLICT (code) DO NOTHING;
INSERT INTO countries (code, name) SELECT 'Y1', name FROM countries WHERE code LIKE 'X%' ON CONFLICT DO NOTHING;
INSERT INTO countries (code, name) SELECT 'Y2', name FROM countries WHERE code = 'X1' ON CONFLICT (code) DO UPDATE SET name = excluded.name;
SELECT code, name FROM countries WHERE code LIKE 'Y%';
SELECT count(DISTINCT current_setting('port')), count(DISTINCT current_setting('timezone')) FROM orders;
-- refused 0A000
UPDATE orders SET note = current_setting('port');
-- refused 0A000
ALTER TABLE ms ADD COLUMN tx text DEFAULT txid_current()::text;
-- refused 0A000
CREATE VIEW vt AS SELECT customer_id, 'now'::timestamp AS t FROM orders;
CREATE VIEW vt AS SELECT customer_id, 'now' AS label FROM orders WHERE note <> 'today';
SELECT count(*), min(label) FROM vt;
DROP VIEW vt;
-- SQL EXECUTE in a block reads nothing that each shard would read for itself.
PREPARE at_all(timestamptz) AS UPDATE ms SET at = $1;
PREPARE at_reference(timestamptz) AS UPDATE countries SET at = $1;
PREPARE said(text) AS UPDATE ms SET body = $1;
BEGIN;
-- refused 0A000
EXECUTE at_all('now');
ROLLBACK;
BEGIN;
-- refused 0A000
EXECUTE at_reference('today');
ROLLBACK;
BEGIN;
EXECUTE said('see you today');
EXECUTE at_all('2020-01-01');
EXECUTE at_reference('2020-01-01');
COMMIT;
SELECT customer_id, body, at FROM ms;
SELECT code, at FROM countries;
