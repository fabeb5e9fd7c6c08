-- Functions of extensions: what reads tables by their names in a text, what a server keeps.
CREATE EXTENSION tablefunc;
CREATE EXTENSION pg_trgm;
-- refused 0A000
SELECT count(*) FROM crosstab('SELECT customer_id, id, status FROM orders ORDER BY 1, 2') AS x(c int8, a text, b text);
-- refused 0A000
SELECT count(*) FROM public.crosstab('SELECT 1, 2, 3') AS x(c int, a int);
-- refused 0A000
SELECT x.* FROM customers c, crosstab('SELECT customer_id, id, status FROM orders') AS x(c int8, a text, b text) WHERE c.customer_id = 1;
-- refused 0A000
SELECT count(*) FROM crosstab2('SELECT customer_id::text, id::text, status FROM orders ORDER BY 1, 2');
-- refused 0A000
SELECT count(*) FROM connectby('items', 'line', 'order_id', '1', 0) AS x(line int4, parent int8, level int);
-- refused 0A000
SELECT setseed(0.5);
-- refused 0A000
SELECT set_limit(0.9);
SELECT show_limit(), similarity('apple', 'apples') > 0.3;
SELECT count(*) FROM customers WHERE name % 'name';
SET pg_trgm.similarity_threshold TO 0.9;
SELECT show_limit();
SELECT count(*) FROM customers WHERE name % 'name';
RESET pg_trgm.similarity_threshold;
SELECT count(*) FROM normal_rand(3, 1, 1);
