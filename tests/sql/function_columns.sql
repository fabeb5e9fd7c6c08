-- Columns that functions in FROM give, stored by their places.
CREATE TABLE rows_in (customer_id int8 PRIMARY KEY, note text);
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[1, 4]::int8[], ARRAY['a', 'b']);
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[11, 14]::int8[], ARRAY['a', 'b']) RETURNING *;
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[11, 15]::int8[], ARRAY['a', 'b']) ON CONFLICT (customer_id) DO NOTHING;
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[21]::int8[], ARRAY['a', 'b']);
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[22, 23]::int8[], ARRAY['a']) RETURNING *;
-- parameters {31,34} | {a,b}
INSERT INTO rows_in SELECT * FROM unnest($1::bigint[], $2::text[]);
-- parameters {35,36} | {a,b}
INSERT INTO rows_in SELECT * FROM unnest($1::bigint[], $2::varchar(5)[]) RETURNING *;
INSERT INTO rows_in (note, customer_id) SELECT * FROM unnest(ARRAY['a', 'b'], ARRAY[41, 44]::int8[]);
INSERT INTO rows_in SELECT u.* FROM unnest(ARRAY[51, 54]::int8[]) WITH ORDINALITY u;
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[52, 53]::int8[], ARRAY['c', 'd'], ARRAY[1]) u;
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[52, 53]::int8[], ARRAY['c', 'd']) WITH ORDINALITY;
INSERT INTO rows_in SELECT * FROM ROWS FROM (generate_series(61, 64), unnest(ARRAY['p', 'q', 'r', 's']));
INSERT INTO rows_in SELECT * FROM ROWS FROM (json_to_recordset('[{"a":71}]') AS (a int8), string_to_table('z', ','));
INSERT INTO rows_in SELECT * FROM json_populate_recordset(NULL::rows_in, '[{"customer_id":81,"note":"x"},{"customer_id":84}]');
INSERT INTO rows_in SELECT * FROM jsonb_populate_recordset(NULL::public.rows_in, '[{"customer_id":82,"note":"x"},{"customer_id":85}]') r RETURNING *;
-- parameters [{"customer_id":86,"note":"x"},{"customer_id":87}]
INSERT INTO rows_in SELECT * FROM json_populate_recordset(NULL::rows_in, $1::json);
INSERT INTO rows_in (customer_id, note) SELECT (jsonb_populate_record(NULL::rows_in, '{"customer_id":91,"note":"q"}')).*;
INSERT INTO rows_in (customer_id, note) SELECT (jsonb_populate_record(NULL::rows_in, '{"customer_id":92,"note":"q"}')).*, 1;
INSERT INTO rows_in SELECT key::int8, value FROM jsonb_each_text('{"101":"a","104":"b"}');
MERGE INTO rows_in USING (SELECT * FROM unnest(ARRAY[1, 5, 6]::int8[], ARRAY['m', 'n', 'o']) u (k, v)) s ON customer_id = s.k WHEN MATCHED THEN UPDATE SET note = v WHEN NOT MATCHED THEN INSERT VALUES (k, v);
-- One of another number of columns is none of these.
INSERT INTO rows_in SELECT * FROM unnest('a:1 b:2'::tsvector);
INSERT INTO rows_in SELECT 110 + ordinality, lexeme FROM unnest('a:1 b:2'::tsvector) WITH ORDINALITY;
CREATE TYPE two AS (x int8, y text);
-- refused 0A000
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[ROW(121, 'a')::two, ROW(124, 'b')::two]);
INSERT INTO rows_in SELECT u.x, u.y FROM unnest(ARRAY[ROW(121, 'a')::two, ROW(124, 'b')::two]) u;
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[131, 134]::int8[], ARRAY[ROW(121, 'a')::two]);
SELECT * FROM rows_in;
-- What else reads them.
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b']);
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b']) u, customers c WHERE c.customer_id = 3;
SELECT u.*, o.id, count(*) OVER () FROM unnest(ARRAY[1, 2], ARRAY['a', 'b']) u, orders o WHERE o.customer_id < 9;
SELECT DISTINCT u.* FROM unnest(ARRAY[1, 2], ARRAY[1, 1]) u, orders;
SELECT jsonb_agg(u ORDER BY c.customer_id, u) FROM unnest(ARRAY[1, 2], ARRAY[1, 1]) u, customers c WHERE c.customer_id < 5;
SELECT sum(x.unnest) FROM (SELECT unnest FROM unnest(ARRAY[1, 2]), orders) x;
SELECT e.value, sum(o.customer_id) FROM jsonb_array_elements('[1, 2]') e, orders o GROUP BY 1;
SELECT x, sum(o.customer_id) FROM jsonb_array_elements('[1, 2]') x, orders o GROUP BY x;
SELECT u, sum(o.customer_id) FROM unnest(ARRAY[1, 2]) u, orders o GROUP BY u;
SELECT r.note, sum(o.customer_id) FROM json_populate_recordset(NULL::rows_in, '[{"customer_id":3,"note":"x"},{"customer_id":4}]') r JOIN orders o USING (customer_id) GROUP BY r.note;
SELECT c.customer_id FROM customers c WHERE (c.customer_id, 1) IN (SELECT * FROM unnest(ARRAY[1, 2, 3]::int8[], ARRAY[1, 2, 1]));
UPDATE rows_in SET note = u.v FROM unnest(ARRAY[1, 4]::int8[], ARRAY['u', 'v']) u (k, v) WHERE customer_id = u.k RETURNING rows_in.*;
DELETE FROM rows_in USING unnest(ARRAY[1, 4]::int8[], ARRAY['u', 'x']) u (k, v) WHERE customer_id = u.k AND note = v RETURNING *;
SELECT * FROM rows_in;
-- A table of the name in a schema that is searched later is another type than one that is searched first.
CREATE SCHEMA early;
CREATE TYPE early.rows_in AS (note text, customer_id int8);
BEGIN;
SET LOCAL search_path = early, public;
-- refused 0A000
INSERT INTO public.rows_in (note, customer_id) SELECT * FROM json_populate_recordset(NULL::rows_in, '[{"customer_id":141,"note":"x"}]');
ROLLBACK;
DROP TYPE early.rows_in;
DROP SCHEMA early;
-- A function and an operator of a user's own, with the names of PostgreSQL's.
CREATE SCHEMA early;
CREATE FUNCTION early.unnest(int4[]) RETURNS SETOF int8 LANGUAGE sql IMMUTABLE AS 'SELECT generate_series(1, 12)::int8';
CREATE FUNCTION early.paired(int4, int4) RETURNS two LANGUAGE sql IMMUTABLE AS $$ SELECT $1, 'p' $$;
CREATE OPERATOR early.+ (FUNCTION = early.paired, LEFTARG = int4, RIGHTARG = int4);
SELECT o.customer_id, o.id FROM orders o JOIN early.unnest(ARRAY[7]) c (id) ON o.customer_id = c.id;
SELECT o.customer_id, o.id FROM orders o JOIN pg_catalog.unnest(ARRAY[7]) c (id) ON o.customer_id = c.id;
-- refused 0A000
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[151 OPERATOR(early.+) 2]);
INSERT INTO rows_in SELECT * FROM unnest(ARRAY[161 OPERATOR(pg_catalog.+) 3]);
SELECT * FROM rows_in WHERE customer_id > 150;
DROP OPERATOR early.+ (int4, int4);
DROP FUNCTION early.paired, early.unnest;
DROP SCHEMA early;
DROP TYPE two;
DROP TABLE rows_in;
