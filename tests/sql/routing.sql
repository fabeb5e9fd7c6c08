-- Statements that belong to one shard.
SELECT * FROM orders WHERE customer_id = 3;
SELECT * FROM orders WHERE 3 = customer_id;
SELECT * FROM orders o WHERE o.customer_id = 3 AND o.id > 2;
SELECT * FROM public.orders WHERE customer_id = 3;
SELECT orders.* FROM orders WHERE orders.customer_id = 3;
SELECT public.orders.id FROM public.orders WHERE public.orders.customer_id = 3;
SELECT * FROM orders WHERE customer_id = 3::int8;
SELECT * FROM orders WHERE customer_id = CAST(3 AS bigint);
SELECT * FROM orders WHERE customer_id = 3::int4;
SELECT * FROM orders WHERE customer_id = '3';
SELECT * FROM orders WHERE customer_id = '3'::int8;
SELECT * FROM orders WHERE customer_id = int8 '3';
SELECT * FROM orders WHERE customer_id = -3;
SELECT * FROM orders WHERE customer_id = +3;
SELECT * FROM orders WHERE customer_id = 3 AND customer_id = 4;
SELECT * FROM orders WHERE customer_id = 3 AND customer_id = 3;
SELECT * FROM orders WHERE customer_id = NULL;
SELECT * FROM orders WHERE customer_id = 3 OR customer_id = 3;
SELECT * FROM orders WHERE (customer_id = 3 AND id = 1) OR (customer_id = 3 AND id = 2);
SELECT * FROM orders WHERE customer_id = 3 AND (id = 1 OR id = 2);
SELECT * FROM orders WHERE customer_id IN (3);
SELECT * FROM orders WHERE customer_id IN (3, 3);
SELECT * FROM orders WHERE customer_id IN (NULL, 3);
SELECT * FROM orders WHERE customer_id = ANY (ARRAY[3]);
SELECT * FROM orders WHERE customer_id = ANY ('{3}');
SELECT * FROM orders WHERE customer_id = ANY ('{3}'::int8[]);
SELECT * FROM orders WHERE customer_id = ALL (ARRAY[3, 3]);
SELECT * FROM orders WHERE customer_id = SOME (ARRAY[3]);
SELECT * FROM orders WHERE (customer_id, id) = (3, 1);
SELECT * FROM orders WHERE (customer_id, id) IN ((3, 1), (3, 2));
SELECT * FROM orders WHERE customer_id BETWEEN 3 AND 3;
SELECT * FROM orders WHERE customer_id IS NOT DISTINCT FROM 3;
SELECT * FROM orders WHERE NOT (customer_id <> 3);
SELECT * FROM orders WHERE customer_id = (3);
SELECT * FROM orders WHERE customer_id = 3 AND false;
SELECT * FROM orders WHERE customer_id = 99;
SELECT * FROM orders WHERE customer_id = 9223372036854775807;
SELECT * FROM orders WHERE customer_id = 9223372036854775808;
SELECT * FROM orders WHERE customer_id = 3.0;
SELECT * FROM orders WHERE customer_id = 3.5;
SELECT * FROM orders WHERE customer_id = 0x3;

-- All that one shard can do with its own rows.
SELECT count(*), sum(total), avg(total), min(note), max(ts) FROM orders WHERE customer_id = 3;
SELECT status, count(*) FROM orders WHERE customer_id = 3 GROUP BY status HAVING count(*) > 1;
SELECT status, count(*) FROM orders WHERE customer_id = 3 GROUP BY ROLLUP (status);
-- ordered
SELECT id, row_number() OVER (ORDER BY id DESC), lag(total) OVER (ORDER BY id) FROM orders WHERE customer_id = 3 ORDER BY id;
SELECT DISTINCT status FROM orders WHERE customer_id = 3;
-- ordered
SELECT DISTINCT ON (status) status, id FROM orders WHERE customer_id = 3 ORDER BY status, id DESC;
-- ordered
SELECT id FROM orders WHERE customer_id = 3 ORDER BY total DESC NULLS LAST, id LIMIT 3 OFFSET 1;
-- ordered
SELECT id FROM orders WHERE customer_id = 3 ORDER BY id FETCH FIRST 2 ROWS WITH TIES;
SELECT string_agg(status, ',' ORDER BY id), array_agg(id ORDER BY id DESC), percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders WHERE customer_id = 3;
SELECT id FROM orders WHERE customer_id = 3 UNION SELECT id FROM refunds WHERE customer_id = 3;
SELECT id FROM orders WHERE customer_id = 3 EXCEPT SELECT id FROM refunds WHERE customer_id = 3;
SELECT id FROM orders WHERE customer_id = 3 INTERSECT SELECT id FROM refunds WHERE customer_id = 3;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT * FROM n, orders WHERE customer_id = 3 AND id = i;
SELECT * FROM orders WHERE customer_id = 3 AND id = 1 FOR UPDATE;
SELECT * FROM orders WHERE customer_id = 3 AND id = 1 FOR SHARE NOWAIT;
SELECT total > (SELECT avg(total) FROM orders WHERE customer_id = 3) FROM orders WHERE customer_id = 3;
SELECT o.*, s.n FROM orders o, LATERAL (SELECT count(*) AS n FROM items i WHERE i.customer_id = o.customer_id AND i.order_id = o.id) s WHERE o.customer_id = 3;
SELECT * FROM (VALUES (1), (2)) v(n), orders WHERE customer_id = 3 AND id = n;
SELECT * FROM orders TABLESAMPLE BERNOULLI (100) WHERE customer_id = 3;
SELECT EXISTS (SELECT 1 FROM orders WHERE customer_id = 3);
SELECT (SELECT count(*) FROM orders WHERE customer_id = 3);
SELECT array(SELECT id FROM orders WHERE customer_id = 3 ORDER BY id);
SELECT (SELECT count(*) FROM orders WHERE customer_id = 3), (SELECT count(*) FROM refunds WHERE customer_id = 3);
SELECT 1 WHERE EXISTS (SELECT FROM orders WHERE customer_id = 3);
VALUES ((SELECT count(*) FROM orders WHERE customer_id = 3), 1);
SELECT * FROM lineitem WHERE l_orderkey = 3;
SELECT * FROM lineitem l JOIN orders o ON l.l_orderkey = o.customer_id WHERE o.customer_id = 3;
SELECT * FROM archive.orders WHERE customer_id = 3;
SELECT * FROM archive.orders a JOIN orders o USING (customer_id) WHERE customer_id = 3;
SELECT * FROM orders AS o (k, i) WHERE k = 3;
SELECT * FROM orders AS o (id, customer_id) WHERE customer_id = 3;
SELECT customer_id AS id, id AS customer_id FROM orders WHERE customer_id = 3;

-- Parameters.
-- parameters 3
SELECT * FROM orders WHERE customer_id = $1;
-- parameters 3
SELECT * FROM orders WHERE customer_id = $1::int8;
-- parameters 3
SELECT * FROM orders WHERE customer_id = $1::int4;
-- parameters null
SELECT * FROM orders WHERE customer_id = $1;
-- parameters 3 | 1
SELECT * FROM orders WHERE customer_id = $1 AND id = $2;
-- parameters 1 | 3
SELECT * FROM orders WHERE customer_id = $2 AND id = $1;
-- parameters 3 | 3
SELECT * FROM orders WHERE customer_id IN ($1, $2);
-- parameters {3}
SELECT * FROM orders WHERE customer_id = ANY ($1);
-- parameters {3,3,NULL}
SELECT * FROM orders WHERE customer_id = ANY ($1);
-- parameters 3
SELECT * FROM orders o JOIN items i ON i.customer_id = $1 AND i.order_id = o.id WHERE o.customer_id = $1;
-- parameters 3 | 2
SELECT id FROM orders WHERE customer_id = $1 ORDER BY id LIMIT $2;
-- parameters 3
SELECT * FROM orders WHERE (customer_id, id) = ($1, 1);
-- parameters 2
SELECT * FROM orders WHERE customer_id = $1 + 1;
-- parameters 3
SELECT * FROM orders WHERE customer_id = -$1;
-- parameters 3 | 4
SELECT * FROM orders WHERE customer_id = $1 OR customer_id = $2;
-- parameters 3
SELECT * FROM orders WHERE customer_id = abs($1);
-- parameters 3
SELECT * FROM orders WHERE customer_id = $1::text::int8;
