-- Neighbours of the other files' shapes: the same clauses in other places.
SELECT id FROM orders WHERE customer_id = 7 IS TRUE;
SELECT id FROM orders WHERE (customer_id, id) = (3, 2);
SELECT id FROM orders WHERE (customer_id, id) IN ((3, 2), (1, 1));
SELECT id FROM orders WHERE (customer_id, id) IN (SELECT customer_id, id FROM refunds);
SELECT id FROM orders WHERE ROW(customer_id) = ROW(3);
SELECT id FROM orders WHERE customer_id BETWEEN 3 AND 3;
SELECT id FROM orders WHERE customer_id = 3 AND NOT (customer_id = 3);
SELECT id FROM orders WHERE NOT (customer_id <> 3);
SELECT id FROM orders WHERE customer_id IS NOT DISTINCT FROM 3;
SELECT id FROM orders WHERE nullif(customer_id, 4) = 3;
SELECT id FROM orders WHERE customer_id = ALL (ARRAY[3]);
SELECT id FROM orders WHERE customer_id = ANY ('{3,1}'::int8[]);
SELECT id FROM orders WHERE customer_id = ANY (ARRAY(SELECT customer_id FROM refunds));
SELECT id FROM orders WHERE customer_id IN (3, NULL);
SELECT id FROM orders WHERE customer_id NOT IN (3, NULL);
SELECT id FROM orders WHERE customer_id = NULL;
SELECT id FROM orders WHERE customer_id IS NULL;
SELECT id FROM orders WHERE customer_id = 9223372036854775808;
SELECT id FROM orders WHERE customer_id = '3 ';
SELECT id FROM orders WHERE customer_id = '0x3';
SELECT id FROM orders WHERE customer_id = 3.5;
SELECT id FROM orders WHERE 3 = customer_id;
SELECT id FROM orders WHERE customer_id OPERATOR(pg_catalog.=) 3;
-- parameters 3
SELECT count(*) FROM orders WHERE customer_id = $1 OR id = $1;
-- parameters {1,3}
SELECT count(*) FROM orders WHERE customer_id = ANY ($1);
-- parameters null
SELECT count(*) FROM orders WHERE customer_id = $1;
-- parameters 3 | 1
SELECT (SELECT count(*) FROM orders WHERE customer_id = $1), (SELECT count(*) FROM orders WHERE customer_id = $2);
SELECT customer_id = 7 AND vip AS x, count(*) FROM customers GROUP BY 1;
SELECT max(customer_id) FILTER (WHERE customer_id < 7), count(*) FILTER (WHERE vip) FROM customers;
SELECT customer_id FROM customers GROUP BY customer_id HAVING bool_and(customer_id = 7);
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id = 7 DESC, customer_id DESC LIMIT 2;
SELECT a.customer_id FROM customers a WHERE EXISTS (SELECT 1 FROM orders b WHERE b.customer_id = a.customer_id + 1);
SELECT a.customer_id FROM customers a WHERE (SELECT count(*) FROM orders b WHERE b.customer_id = a.customer_id) > (SELECT avg(id) FROM orders);
SELECT a.customer_id, (SELECT sum(b.total) FROM orders b WHERE b.status = (SELECT min(status) FROM orders c WHERE c.customer_id = a.customer_id)) FROM customers a;
SELECT status, (SELECT count(*) FROM orders b WHERE b.status = a.status) FROM orders a GROUP BY status;
SELECT status, count(*) FROM orders GROUP BY status HAVING count(*) > (SELECT count(*) FROM refunds) / 3;
SELECT status, sum(total) / nullif((SELECT sum(total) FROM orders), 0) > 0.2 FROM orders GROUP BY status;
-- ordered
SELECT customer_id FROM customers ORDER BY (SELECT count(*) FROM orders o WHERE o.customer_id = customers.customer_id) DESC, customer_id LIMIT 3;
-- ordered
SELECT customer_id FROM customers ORDER BY (SELECT count(*) FROM orders o WHERE o.id = customers.customer_id) DESC, customer_id LIMIT (SELECT count(*) FROM refunds WHERE customer_id = 3);
-- ordered
SELECT id, status FROM orders ORDER BY id DESC, status FETCH FIRST 4 ROWS WITH TIES;
-- ordered
SELECT status FROM orders GROUP BY status ORDER BY max(total) DESC NULLS LAST, status OFFSET 1;
-- ordered
SELECT DISTINCT ON (length(status)) status FROM orders ORDER BY length(status), status;
-- ordered
SELECT DISTINCT status, length(status) FROM orders ORDER BY length(status) DESC, status LIMIT 3;
SELECT a.id, b.id FROM orders a FULL JOIN refunds b ON a.id = b.id AND a.customer_id = b.customer_id + 1;
SELECT a.id, b.id FROM orders a RIGHT JOIN refunds b USING (id);
SELECT * FROM refunds NATURAL FULL JOIN (SELECT id, count(*) AS n FROM orders GROUP BY id) o;
SELECT * FROM customers c JOIN LATERAL (SELECT count(*) AS n, max(o.total) FROM orders o WHERE o.customer_id <= c.customer_id) s ON s.n > 3;
SELECT * FROM generate_series(1, 3) g LEFT JOIN LATERAL (SELECT id, status FROM orders o WHERE o.id = g ORDER BY customer_id LIMIT 1) s ON true;
SELECT o.id, x.* FROM orders o CROSS JOIN LATERAL (VALUES (o.total), (o.id)) x(v) WHERE o.customer_id < 3;
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS r(a, b) LEFT JOIN customers c ON c.customer_id = r.b;
(SELECT id FROM orders ORDER BY id LIMIT 2) UNION ALL (SELECT id FROM refunds ORDER BY id DESC LIMIT 1);
(SELECT id FROM orders INTERSECT SELECT id FROM refunds) UNION (SELECT customer_id FROM customers EXCEPT ALL SELECT id FROM orders);
-- ordered
SELECT id FROM orders UNION SELECT id FROM refunds ORDER BY id DESC LIMIT 2 OFFSET 1;
SELECT count(*) FROM (SELECT status FROM orders UNION ALL SELECT name FROM countries UNION SELECT key FROM settings) s;
SELECT 1 AS x UNION ALL SELECT count(*) FROM orders UNION ALL VALUES (3), (NULL);
WITH a AS (SELECT status, count(*) AS n FROM orders GROUP BY status) SELECT x.status, y.status FROM a x JOIN a y ON x.n > y.n;
WITH a AS MATERIALIZED (SELECT * FROM orders), b AS NOT MATERIALIZED (SELECT id FROM a WHERE total > 5) SELECT count(*) FROM b, a WHERE a.id = b.id;
WITH RECURSIVE r(n, d) AS (SELECT customer_id, 1 FROM customers WHERE customer_id = 1 UNION SELECT c.customer_id, d + 1 FROM customers c JOIN r ON c.customer_id = r.n + 1) SEARCH BREADTH FIRST BY n SET o SELECT n, d FROM r;
WITH RECURSIVE r(n) AS (SELECT id FROM orders UNION SELECT n - 1 FROM r WHERE n > 1) CYCLE n SET c USING p SELECT count(*), bool_or(c) FROM r;
SELECT grouping(status, id % 2), status, id % 2, count(*), avg(total) FROM orders GROUP BY CUBE (status, id % 2);
SELECT status, id, count(*) FROM orders GROUP BY GROUPING SETS (ROLLUP (status), (id)) HAVING grouping(id) = 1;
SELECT status, sum(count(*)) OVER (ORDER BY status), rank() OVER (ORDER BY count(*) DESC) FROM orders GROUP BY status;
SELECT id, sum(total) OVER w, count(*) OVER (w ROWS 1 PRECEDING EXCLUDE CURRENT ROW) FROM orders WINDOW w AS (PARTITION BY status ORDER BY customer_id, id);
SELECT max(r) FROM (SELECT row_number() OVER (PARTITION BY status ORDER BY customer_id, id) AS r FROM orders) s;
SELECT count(DISTINCT (customer_id, status)), count(DISTINCT o) FROM orders o;
SELECT sum(total) FILTER (WHERE status IN (SELECT max(status) FROM orders)) FROM orders;
SELECT string_agg(DISTINCT status, '|' ORDER BY status DESC), array_agg(DISTINCT id % 3 ORDER BY id % 3) FROM orders;
SELECT array(SELECT DISTINCT status FROM orders ORDER BY 1), (SELECT array_agg(code ORDER BY code) FROM countries);
SELECT unnest(array_agg(id ORDER BY id)) FROM refunds;
SELECT generate_series(1, max(id)) FROM refunds;
SELECT CASE WHEN count(*) > 3 THEN max(status) END FROM orders;
SELECT min(id) = ANY (array_agg(customer_id)) FROM orders;
TABLE refunds;
SELECT o.*, o FROM orders o JOIN refunds r USING (customer_id, id);
SELECT (o).id, (o).* FROM orders o ORDER BY customer_id, id LIMIT 2;
SELECT count(*) FROM big_orders a, order_count b WHERE a.id = b.orders;
SELECT * FROM all_orders, labels;
SELECT "Weird ""Column", count(*) OVER () AS "select" FROM "Odd Table" ORDER BY "select", customer_id LIMIT 1;
SELECT year, (SELECT count(*) FROM orders) FROM archive.orders WHERE customer_id < 3;
SELECT now() = max(now()), count(*) FROM orders;
SELECT current_user, current_schema(), count(*) FROM orders;
SELECT count(*) FROM pg_catalog.pg_class WHERE relname = (SELECT max(key) FROM settings);
VALUES ((SELECT count(*) FROM orders)), (0);
SELECT FROM orders;
SELECT count(*) FROM (SELECT FROM orders) s;
SELECT EXISTS (SELECT FROM orders o JOIN refunds r ON o.id = r.id), NOT EXISTS (SELECT FROM refunds WHERE false);
BEGIN;
DECLARE plain ASENSITIVE NO SCROLL CURSOR WITHOUT HOLD FOR SELECT id, count(*) FROM orders GROUP BY id ORDER BY id;
-- ordered
FETCH 2 plain;
DECLARE c SCROLL CURSOR FOR SELECT id, count(*) FROM orders GROUP BY id ORDER BY id;
FETCH 2 FROM c;
MOVE 1 FROM c;
FETCH ALL FROM c;
FETCH BACKWARD 2 FROM c;
FETCH FIRST FROM c;
FETCH ABSOLUTE 2 FROM c;
CLOSE c;
COMMIT;
BEGIN;
UPDATE public.customers SET customer_id = public.customers.customer_id + 100 WHERE public.customers.customer_id < 3 RETURNING public.customers.name, customers.customer_id;
UPDATE customers SET customer_id = customer_id + 100 WHERE customer_id = 3 RETURNING public.customers.name, customer_id;
UPDATE customers c SET customer_id = c.customer_id + 100 WHERE customer_id = 4 RETURNING c.name, c.customer_id;
ROLLBACK;
-- What a sub-select is compared with may be an aggregate of its own level.
SELECT customer_id, customer_id AS again FROM orders GROUP BY customer_id HAVING count(*) IN (SELECT customer_id FROM orders);
SELECT count(*) IN (SELECT id FROM refunds), max(id) = ANY (SELECT id FROM orders) FROM orders;
SELECT status, sum(total) > ALL (SELECT amount FROM refunds) FROM orders GROUP BY status;
SELECT status FROM orders GROUP BY status HAVING (count(*), max(id)) NOT IN (SELECT customer_id, id FROM orders);
-- A table in a sub-select, and the same by another name beside it.
SELECT t1.id FROM (SELECT * FROM products LIMIT ALL) t1 JOIN products t2 ON t1.id = t2.id RIGHT JOIN orders t3 ON t1.id = t3.customer_id;
-- Any sample is right; of these there is one only.
SELECT count(*), sum(total) FROM orders TABLESAMPLE BERNOULLI (100);
SELECT o.status, count(*) FROM orders o TABLESAMPLE SYSTEM (100) JOIN refunds r ON r.id = o.id GROUP BY o.status;
SELECT * FROM orders TABLESAMPLE BERNOULLI (0) WHERE total > 1;
SELECT count(*) FROM orders TABLESAMPLE BERNOULLI (101);
SELECT count(*) FROM big_orders TABLESAMPLE BERNOULLI (100);
-- refused 0A000
SELECT count(*) FROM orders TABLESAMPLE BERNOULLI (50) REPEATABLE (1);
