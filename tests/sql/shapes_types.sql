-- Order, extremes, groups and equality of every common type, over several shards, one of which has no rows of the table.
CREATE TYPE mood AS ENUM ('sad', 'fine', 'angry');
CREATE DOMAIN small AS int4 CHECK (VALUE < 100);
CREATE AGGREGATE product (float8) (SFUNC = float8mul, STYPE = float8, INITCOND = '1');
CREATE TABLE kinds (customer_id int8 PRIMARY KEY, e mood, a inet, c cidr, i interval, b bytea, ts timestamp, tz timestamptz, d date, t time, m money, n numeric, f float4, g float8, s small, j jsonb, u uuid, bits bit varying, r int4range, arr int4[], txt text COLLATE "C", ch char(5), v varchar(9), p point, tt timetz);
INSERT INTO kinds VALUES (1, 'sad', '10.0.0.1', '10.0.0.0/8', '1 month', '\x00', '1999-12-31 23:59:59.999999', '1999-12-31 23:59:59.999999+05', '1999-12-31', '23:59:59.5', '12.34', 1.0, 1.5, 'NaN', 1, '{"a": 1}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380011', B'101', '[1,5)', '{1,2}', 'a', 'ab', 'x', '(1,2)', '10:00+02');
INSERT INTO kinds VALUES (2, 'angry', '::1', '192.168.0.0/16', '30 days', '\xff00', 'infinity', '-infinity', 'infinity', '00:00', '-1.00', 1.00, -0.0, '-Infinity', 2, '{"a": 1, "b": null}', 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380011', B'1', 'empty', '{}', 'B', 'ab ', 'Äb', '(0,0)', '09:00+01');
INSERT INTO kinds VALUES (3, 'fine', '10.0.0.1/24', '10.0.0.0/8', '29 days 24:00', '\x', '1970-01-01', '2026-03-29 02:30+01', '1582-10-04', '24:00', '0', 12345678901234567890123456789012345678.123456789, 'NaN', 0.1, 3, '[]', NULL, B'', '(,3]', '{NULL,3}', 'Z', '', 'Ab', NULL, '10:00+02');
INSERT INTO kinds VALUES (4, NULL, NULL, NULL, '-1 month 31 days', NULL, '0001-01-01 BC', '0044-03-15 BC', '-infinity', NULL, NULL, 'NaN', NULL, 0.2, NULL, 'null', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380012', NULL, NULL, NULL, NULL, NULL, 'b', NULL, NULL);
INSERT INTO kinds VALUES (5, 'sad', '10.0.0.1', '10.0.0.0/8', '1 month', '\x00', '1999-12-31 23:59:59.999999', '1999-12-31 23:59:59.999999+05', '1999-12-31', '23:59:59.5', '12.34', -1e-20, 1.5, 0.3, 1, '{"a": 1.0}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380011', B'101', '[1,4]', '{1,2}', 'a', 'ab', 'X', NULL, '10:00+02');
SELECT * FROM kinds;
-- ordered
SELECT e FROM kinds ORDER BY e;
-- ordered
SELECT a, customer_id FROM kinds ORDER BY a DESC, 2;
-- ordered
SELECT c, customer_id FROM kinds ORDER BY c NULLS FIRST, 2;
-- ordered
SELECT i, customer_id FROM kinds ORDER BY i, 2;
-- ordered
SELECT b FROM kinds ORDER BY b;
-- ordered
SELECT ts, customer_id FROM kinds ORDER BY ts, 2;
-- ordered
SELECT tz, customer_id FROM kinds ORDER BY tz DESC, 2 LIMIT 3;
-- ordered
SELECT d, t FROM kinds ORDER BY d, t;
-- ordered
SELECT m, n, customer_id FROM kinds ORDER BY m DESC NULLS LAST, n, 3;
-- ordered
SELECT n, customer_id FROM kinds ORDER BY n, customer_id;
-- ordered
SELECT f, g FROM kinds ORDER BY f, g;
-- ordered
SELECT g FROM kinds ORDER BY g DESC LIMIT 2;
-- ordered
SELECT j, customer_id FROM kinds ORDER BY j, 2;
-- ordered
SELECT u, bits, r FROM kinds ORDER BY u, bits, r;
-- ordered
SELECT arr, customer_id FROM kinds ORDER BY arr, 2;
-- ordered
SELECT txt, customer_id FROM kinds ORDER BY txt, 2;
-- ordered
SELECT ch, v FROM kinds ORDER BY ch, v;
-- ordered
SELECT v FROM kinds ORDER BY v;
-- ordered
SELECT v FROM kinds ORDER BY v COLLATE "C";
-- ordered
SELECT tt, customer_id FROM kinds ORDER BY tt, 2;
SELECT min(e), max(e), min(a), max(a), min(i), extract(epoch FROM max(i)), min(ts), max(ts), min(tz), max(tz) FROM kinds;
SELECT min(d), max(d), min(t), max(t), min(m), max(m), min(n), max(n), min(f), max(f), min(g), max(g) FROM kinds;
SELECT min(s), max(s), min(arr), max(arr), min(txt), max(txt), min(ch), max(ch), min(v), max(v), min(tt), max(tt) FROM kinds;
SELECT min(v COLLATE "C"), max(v COLLATE "C") FROM kinds;
SELECT sum(i), avg(i), sum(m), sum(n), avg(n), sum(s), avg(s), sum(t) FROM kinds;
SELECT sum(n), avg(n), stddev(n), var_pop(n) FROM kinds WHERE n <> 'NaN';
SELECT sum(f), avg(f), sum(g), avg(g) FROM kinds WHERE customer_id = 1;
SELECT product(s::float8), round(product(customer_id::float8)::numeric, 2) + 1 FROM kinds;
SELECT e, count(*) FROM kinds GROUP BY e;
SELECT n, count(*) FROM kinds WHERE n > 0 GROUP BY n HAVING count(*) = 1;
SELECT count(*) FROM (SELECT DISTINCT n FROM kinds) s;
SELECT count(DISTINCT n), count(DISTINCT j), count(DISTINCT i), count(DISTINCT r), count(DISTINCT ch), count(DISTINCT a) FROM kinds;
SELECT count(*) FROM (SELECT i FROM kinds GROUP BY i) s;
SELECT DISTINCT r FROM kinds;
SELECT DISTINCT e, u FROM kinds;
SELECT range_agg(r), range_intersect_agg(r) FROM kinds WHERE customer_id <> 2;
SELECT x.customer_id, y.customer_id FROM kinds x JOIN kinds y ON x.n = y.n;
SELECT x.customer_id, y.customer_id FROM kinds x JOIN kinds y ON x.i = y.i AND x.ch = y.ch;
SELECT x.customer_id, y.customer_id FROM kinds x JOIN kinds y ON x.r && y.r;
SELECT x.customer_id, y.customer_id FROM kinds x JOIN kinds y ON x.a <<= y.c;
SELECT x.customer_id, y.customer_id FROM kinds x FULL JOIN kinds y ON x.e = y.e AND x.customer_id < y.customer_id WHERE false;
SELECT x.e, y.e FROM kinds x LEFT JOIN kinds y ON x.j = y.j AND x.customer_id <> y.customer_id;
SELECT p, p::text FROM kinds WHERE p IS NOT NULL;
SELECT count(*) FROM kinds WHERE p <-> point '(0,0)' < 3;
SELECT array_agg(e ORDER BY e)::text, array_agg(DISTINCT u ORDER BY u), array_agg(ch ORDER BY ch, customer_id) FROM kinds;
SELECT string_agg(v, ',' ORDER BY v), string_agg(b, '\x01' ORDER BY b) FROM kinds;
SELECT jsonb_agg(j ORDER BY customer_id), jsonb_object_agg(customer_id, e ORDER BY customer_id) FROM kinds;
SELECT json_agg(k ORDER BY customer_id) FROM kinds k;
SELECT (k).e, k.customer_id FROM kinds k WHERE (k).n > 0;
SELECT k::text FROM kinds k WHERE k.customer_id < 3;
SELECT to_jsonb(k) -> 'e' FROM kinds k;
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY d), percentile_disc(0.5) WITHIN GROUP (ORDER BY e), percentile_cont(0.5) WITHIN GROUP (ORDER BY i) > '1 day' FROM kinds;
SELECT percentile_cont(ARRAY[0, 0.5, 1]) WITHIN GROUP (ORDER BY s), rank(2) WITHIN GROUP (ORDER BY s), cume_dist(2) WITHIN GROUP (ORDER BY s) FROM kinds;
SELECT xmlagg(xmlelement(name x, customer_id) ORDER BY customer_id)::text FROM kinds;
SELECT greatest(max(d), DATE '2020-01-01'), least(min(n), 3), nullif(count(*), 5), coalesce(max(s), 0) FROM kinds;
SELECT extract(epoch FROM max(ts)) FROM kinds WHERE isfinite(ts);
SELECT e > 'sad', count(*) FROM kinds GROUP BY 1;
SELECT max(e::text), min(enum_range(e))::text FROM kinds WHERE e IS NOT NULL;
SELECT s + 1, s::small FROM kinds ORDER BY customer_id LIMIT 2;
SELECT bit_and(bits::bit(3)), bit_or(s), bit_xor(s) FROM kinds WHERE length(bits) = 3;
SELECT lag(e) OVER (ORDER BY customer_id), first_value(i) OVER (ORDER BY i, customer_id), ntile(2) OVER (ORDER BY customer_id) FROM kinds;
SELECT sum(customer_id) OVER (ORDER BY ts RANGE BETWEEN '1 day' PRECEDING AND '1 day' FOLLOWING) FROM kinds WHERE isfinite(ts) AND ts > '1900-01-01';
SELECT count(*) OVER (ORDER BY d GROUPS 1 PRECEDING EXCLUDE TIES), d FROM kinds;
-- parameters sad
SELECT count(*), max(e) FROM kinds WHERE e >= $1;
-- parameters {1,2} | 1 month
SELECT count(*) FROM kinds WHERE arr = $1 OR i = $2;
-- parameters null
SELECT count(*), sum(n) FROM kinds WHERE v = $1;
DROP TABLE kinds;
DROP AGGREGATE product (float8);
DROP DOMAIN small;
DROP TYPE mood;
-- GROUP BY a primary key, and columns of types that nothing can be grouped by.
CREATE TABLE ungrouped (customer_id int8, id int4, js json[], jp jsonpath, at point[], PRIMARY KEY (customer_id, id));
INSERT INTO ungrouped SELECT g, g % 3, ARRAY['{}'::json], '$.a', '{"(1,2)"}' FROM generate_series(1, 9) g;
-- ordered
SELECT customer_id, id, jp, js, at::text FROM ungrouped GROUP BY customer_id, id ORDER BY id + 0, 1 LIMIT 2;
SELECT u.customer_id, u.id, u.jp, count(*) FROM ungrouped u JOIN countries c ON length(c.code) = 2 GROUP BY u.customer_id, u.id;
DROP TABLE ungrouped;
SELECT inet_merge('10.0.0.0/16', max(('10.1.0.' || id)::inet)), inet_same_family(min(('10.1.0.' || id)::inet), '::1') FROM orders;
