-- Statements without a table, and what hides in functions.
SELECT 1;
SELECT 1 + 1 AS two, 'x' || 'y', ARRAY[1, 2], ROW(1, 2), NULL::int;
SELECT upper('grün'), length('grün'), md5('x'), round(2.5), 10 / 4.0, 10 % 3, 2 ^ 10;
SELECT version();
SELECT current_user, current_schema();
SELECT current_setting('server_version_num')::int >= 150000;
SELECT now() = transaction_timestamp();
SELECT generate_series(1, 5);
SELECT * FROM generate_series(1, 5) AS g(n) WHERE n % 2 = 1;
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b']) AS u(a, b);
SELECT * FROM json_each('{"a": 1, "b": [2]}');
SELECT regexp_split_to_table('a b c', ' ');
SELECT date_trunc('month', TIMESTAMPTZ '2026-11-21 12:00Z');
SELECT to_char(1234.5, '9G999D99'), to_date('2026-11-21', 'YYYY-MM-DD');
VALUES (1, 'a'), (2, 'b');
TABLE countries;
SHOW server_encoding;
SELECT pg_is_in_recovery();
-- refused 0A000
SELECT pg_advisory_lock(1);
SELECT pg_advisory_xact_lock(1);
-- refused 0A000
SELECT pg_notify('channel', 'payload');
-- refused 0A000
LISTEN channel;
-- refused 0A000
NOTIFY channel;
UNLISTEN *;
SELECT pg_sleep(0);
-- refused 0A000
SELECT query_to_xml('SELECT count(*) FROM orders', true, true, '');
SELECT pg_relation_size('orders') >= 0;
-- refused 0A000
SELECT table_to_xml('countries', true, true, '');
CREATE FUNCTION add(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
SELECT add(1, 2);
SELECT id, add(id::int, 1) FROM orders WHERE customer_id = 3;
CREATE FUNCTION how_many() RETURNS int8 LANGUAGE sql STABLE AS 'SELECT count(*) FROM orders';
-- refused 0A000
SELECT how_many();
-- refused 0A000
SELECT id, how_many() FROM orders WHERE customer_id = 3;
CREATE FUNCTION remove() RETURNS void LANGUAGE sql VOLATILE AS 'DELETE FROM refunds';
-- refused 0A000
SELECT remove();
-- refused 0A000
SELECT id, remove() FROM orders WHERE customer_id = 3;
CREATE FUNCTION liar() RETURNS int8 LANGUAGE sql IMMUTABLE AS 'SELECT count(*) FROM orders';
-- refused 0A000
SELECT liar();
-- Functions that touch nothing but their arguments, whatever they are declared, and what is like them.
CREATE FUNCTION plus_one(int8) RETURNS int8 LANGUAGE sql AS 'SELECT $1 + 1';
SELECT plus_one(1);
SELECT id, plus_one(id) FROM orders WHERE customer_id = 3;
SELECT customer_id, id, plus_one(id) FROM orders;
SELECT sum(plus_one(id)) FROM orders;
CREATE FUNCTION slug(word text) RETURNS text STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN lower(trim(word)) || '-s'; END $$;
SELECT slug(' Ab ');
SELECT DISTINCT slug(status) FROM orders;
CREATE FUNCTION by_way() RETURNS int8 LANGUAGE sql AS 'SELECT plus_one(how_many())';
-- refused 0A000
SELECT by_way();
CREATE FUNCTION counted() RETURNS int8 LANGUAGE plpgsql AS $$ BEGIN RETURN nextval('nothing'); END $$;
SELECT counted();
-- Triggers that touch nothing but the row.
CREATE TABLE stamped (customer_id int8, x int, touched int DEFAULT 0, note text, PRIMARY KEY (customer_id, x));
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.x < 0 THEN RAISE EXCEPTION '% is negative', NEW.x; END IF; NEW.touched := NEW.touched + 1; NEW.note := TG_OP; RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();
INSERT INTO stamped VALUES (1, 1), (2, 1), (3, 1), (4, 1) RETURNING *;
INSERT INTO stamped VALUES (5, 1), (6, -1);
UPDATE stamped SET x = x + 1 WHERE customer_id = 3 RETURNING *;
UPDATE stamped SET x = x + 1;
INSERT INTO stamped VALUES (1, 2), (7, 2) ON CONFLICT (customer_id, x) DO UPDATE SET note = 'again' RETURNING *;
SELECT * FROM stamped;
-- refused 0A000
UPDATE stamped SET customer_id = 9 WHERE customer_id = 1;
CREATE FUNCTION to_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.customer_id := 1; RETURN NEW; END $$;
CREATE TABLE to_key (customer_id int8, x int);
CREATE TRIGGER to_key BEFORE INSERT ON to_key FOR EACH ROW EXECUTE FUNCTION to_key();
-- refused 0A000
INSERT INTO to_key VALUES (7, 1);
CREATE AGGREGATE my_sum(int8) (sfunc = int8pl, stype = int8, initcond = '0');
SELECT my_sum(id) FROM orders WHERE customer_id = 3;
SELECT my_sum(id) FROM orders;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE moods (customer_id int8, m mood);
INSERT INTO moods VALUES (3, 'happy');
INSERT INTO moods VALUES (4, 'sad');
INSERT INTO moods VALUES (5, 'nonsense');
SELECT * FROM moods WHERE customer_id = 3;
SELECT * FROM moods WHERE m > 'sad';
-- ordered
SELECT * FROM moods ORDER BY m DESC;
DROP TABLE moods;
DROP TYPE mood;
DROP FUNCTION add(int, int), how_many(), remove(), liar();
DROP AGGREGATE my_sum(int8);
CREATE SEQUENCE numbers;
SELECT nextval('numbers');
SELECT last_value FROM numbers;
SELECT setval('numbers', 5);
DROP SEQUENCE numbers;
CREATE TABLE serials (customer_id int8, id bigserial, x int);
INSERT INTO serials (customer_id, x) VALUES (3, 1);
DROP TABLE serials;
-- Sequences of sharded tables: every number once, whichever shard draws it.
CREATE TABLE serials (customer_id int8, id bigserial, small serial, own int8 GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5), x int);
INSERT INTO serials (customer_id, x) SELECT customer_id, 1 FROM customers;
INSERT INTO serials (customer_id, x) VALUES (1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2);
INSERT INTO serials (customer_id, id, x) VALUES (7, DEFAULT, 3);
SELECT count(*), count(*) = count(DISTINCT id), count(*) = count(DISTINCT small), count(*) = count(DISTINCT own), bool_and(own % 5 = 0 AND own >= 10) FROM serials;
SELECT setval('serials_id_seq', 1000000);
SELECT pg_catalog.setval('public.serials_small_seq', 1000000, false);
SELECT setval(pg_get_serial_sequence('serials', 'own'), 1000005);
INSERT INTO serials (customer_id, x) SELECT customer_id, 4 FROM customers;
SELECT count(*), bool_and(id > 1000000), bool_and(small >= 1000000), bool_and(own > 1000005), count(DISTINCT id) = count(*), count(DISTINCT small) = count(*) FROM serials WHERE x = 4;
ALTER SEQUENCE serials_id_seq RESTART WITH 5000000;
ALTER SEQUENCE serials_small_seq INCREMENT BY 3;
ALTER TABLE serials ALTER COLUMN own RESTART WITH 7000000;
INSERT INTO serials (customer_id, x) SELECT customer_id, 5 FROM customers;
INSERT INTO serials (customer_id, x) SELECT customer_id, 5 FROM customers;
SELECT bool_and(id >= 5000000), bool_and(own >= 7000000), count(DISTINCT id) = count(*), count(DISTINCT small) = count(*), count(DISTINCT own) = count(*) FROM serials WHERE x = 5;
UPDATE serials SET id = DEFAULT WHERE x = 5;
SELECT count(DISTINCT id) = count(*) FROM serials;
TRUNCATE serials RESTART IDENTITY;
INSERT INTO serials (customer_id, x) SELECT customer_id, 6 FROM customers;
SELECT count(DISTINCT id) = count(*), min(id) FROM serials WHERE x = 6;
SELECT setval('serials_id_seq', (SELECT count(*) + 100 FROM serials));
SELECT setval('serials_id_seq', 0);
DROP TABLE serials;
-- Numbers of a small type are drawn on the home shard.
CREATE TABLE serials (customer_id int8, id smallserial, x int);
INSERT INTO serials (customer_id, x) VALUES (1, 2), (2, 2), (3, 2), (4, 2);
-- ordered
SELECT * FROM serials ORDER BY id;
DROP TABLE serials;
-- refused 0A000
CREATE TEMP TABLE scratch (x int);
SELECT * FROM pg_temp.scratch;
EXPLAIN (COSTS OFF) SELECT 1;
-- refused 0A000
SELECT lo_create(0) > 0;
-- Defaults and constraints that change what a server keeps for its session: it is lent to others.
CREATE TABLE dressing (b int, a text DEFAULT set_config('timezone', 'Asia/Tokyo', false));
-- refused 0A000
INSERT INTO dressing (b) VALUES (1);
SELECT current_setting('timezone');
DROP TABLE dressing;
CREATE TABLE locking (b int, a bool CHECK (pg_try_advisory_lock(7) OR a));
-- refused 0A000
INSERT INTO locking VALUES (1, true);
DROP TABLE locking;
