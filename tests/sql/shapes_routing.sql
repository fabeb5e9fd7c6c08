-- Shapes that proxies route to one shard although more are needed.
-- either
SELECT id FROM orders WHERE customer_id % 10 = 3;
-- either
SELECT id FROM orders WHERE customer_id + 1 = 6;
-- either
SELECT id FROM orders WHERE customer_id = 2 + 3;
-- either
-- parameters 2
SELECT id FROM orders WHERE customer_id = $1 + 1;
-- either
-- parameters 3
SELECT id FROM orders WHERE customer_id = -$1;
-- either
SELECT id FROM orders WHERE customer_id IN (1, 1+1);
-- either
SELECT id FROM orders WHERE customer_id IN (1, abs(-3));
-- either
SELECT id FROM orders WHERE customer_id = length('abc');
-- either
SELECT count(*) FILTER (WHERE customer_id = 7) FROM orders;
-- either
SELECT CASE WHEN customer_id = 7 THEN 'seven' ELSE 'other' END FROM orders;
-- either
SELECT customer_id = 7 AS vip FROM customers;
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY (customer_id = 7), customer_id;
-- either
SELECT customer_id FROM customers WHERE (customer_id = 7) IS NOT TRUE;
-- either
SELECT customer_id FROM customers WHERE (customer_id = 7) IS TRUE;
-- either
SELECT customer_id FROM customers WHERE (customer_id = 7) = false;
-- either
SELECT customer_id FROM customers WHERE coalesce(customer_id = 7, true);
-- either
SELECT customer_id FROM customers WHERE NOT customer_id = 7;
-- either
SELECT customer_id FROM customers WHERE customer_id <> 7;
-- either
SELECT customer_id FROM customers WHERE customer_id = 7 OR true;
-- either
SELECT customer_id FROM customers WHERE customer_id = 7 OR name LIKE '%1%';
-- either
SELECT customer_id FROM customers WHERE customer_id = 7 IS NOT DISTINCT FROM false;
-- either
UPDATE customers SET vip = (customer_id = 7);
-- either
UPDATE customers SET vip = (customer_id = 7) WHERE customer_id = 3;
-- either
SELECT a.customer_id, b.id FROM customers a LEFT JOIN orders b ON b.customer_id = 7;
-- either
SELECT a.customer_id, b.id FROM customers a LEFT JOIN orders b ON a.customer_id = b.customer_id AND b.customer_id = 7;
-- either
SELECT a.customer_id, b.id FROM customers a LEFT JOIN orders b ON a.customer_id = 7;
-- either
SELECT a.customer_id, b.id FROM customers a RIGHT JOIN orders b ON a.customer_id = b.customer_id AND a.customer_id = 7;
-- either
SELECT a.customer_id, b.id FROM customers a FULL JOIN orders b ON a.customer_id = b.customer_id AND a.customer_id = 7;
-- either
SELECT a.customer_id, b.id FROM customers a LEFT JOIN orders b ON a.customer_id = b.customer_id WHERE b.customer_id = 7;
-- either
SELECT customer_id, id FROM orders WHERE id IN (SELECT id FROM refunds WHERE customer_id = 3);
-- either
SELECT customer_id, id FROM orders WHERE customer_id = 3 AND id IN (SELECT id FROM refunds);
-- either
SELECT customer_id FROM orders WHERE customer_id IN (SELECT customer_id FROM refunds WHERE customer_id = 3);
-- either
SELECT (SELECT count(*) FROM orders WHERE customer_id = 1), (SELECT count(*) FROM orders WHERE customer_id = 3);
-- either
WITH a AS (SELECT id FROM orders WHERE customer_id = 1), b AS (SELECT id FROM orders WHERE customer_id = 3) SELECT * FROM a, b;
-- either
WITH a AS (SELECT id FROM orders WHERE customer_id = 1), b AS (SELECT id FROM orders WHERE customer_id = 3) SELECT * FROM a;
-- either
SELECT id FROM orders WHERE customer_id = 1 UNION ALL SELECT id FROM orders WHERE customer_id = 2;
-- either
SELECT id FROM orders WHERE customer_id = 1 UNION SELECT id FROM orders WHERE customer_id = 2;
-- either
SELECT id FROM orders UNION SELECT id FROM refunds;
-- either
SELECT id FROM orders INTERSECT SELECT id FROM refunds;
-- either
SELECT id FROM orders EXCEPT SELECT id FROM refunds;
-- either
SELECT customer_id, id FROM orders EXCEPT SELECT customer_id, id FROM refunds;
-- either
SELECT id FROM orders UNION ALL SELECT id FROM refunds;
-- either
SELECT EXISTS (SELECT 1 FROM orders);
-- either
SELECT EXISTS (SELECT 1 FROM orders WHERE status = 'nothing');
-- either
SELECT (SELECT count(*) FROM orders);
-- either
SELECT 1 WHERE EXISTS (SELECT 1 FROM orders WHERE customer_id IN (1, 2, 3, 4));
-- either
SELECT * FROM (SELECT count(*) FROM orders) s;
-- either
SELECT id FROM orders WHERE customer_id IN (1, 3);
-- either
SELECT id FROM orders WHERE customer_id IN (1, 2, 3, 4, 5, 6, 7, 8);
-- either
SELECT id FROM orders WHERE customer_id = ANY (ARRAY[1, 3]);
-- either
SELECT id FROM orders WHERE customer_id = ANY (SELECT 3);
-- either
SELECT id FROM orders WHERE customer_id = (SELECT 3);
-- either
SELECT id FROM orders WHERE customer_id = (SELECT max(customer_id) FROM customers);
-- either
-- parameters 1 | 3
SELECT id FROM orders WHERE customer_id IN ($1, $2);
SELECT id FROM orders WHERE customer_id = '3';
-- either
SELECT id FROM orders WHERE customer_id = 3.0;
-- either
SELECT id FROM orders WHERE customer_id = 3.0::float8;
-- either
SELECT id FROM orders WHERE customer_id = '3'::numeric;
-- either
SELECT id FROM orders WHERE customer_id::text = '3';
-- either
SELECT id FROM orders WHERE customer_id = 3::oid;
-- either
SELECT id FROM orders WHERE customer_id > 2 AND customer_id < 4;
-- either
SELECT id FROM orders WHERE customer_id >= 3 AND customer_id <= 3;
-- either
SELECT o.id FROM orders o, refunds r WHERE o.customer_id = 3;
-- either
SELECT o.id FROM orders o, refunds r WHERE o.customer_id = r.customer_id AND r.customer_id = 3;
-- either
SELECT o.id FROM orders o, refunds r WHERE o.customer_id = r.id AND r.customer_id = 3;
-- either
SELECT o.id FROM orders o, refunds r WHERE o.customer_id = 3 AND r.customer_id = 1;
-- either
SELECT id FROM orders WHERE customer_id = 3 UNION ALL SELECT id FROM refunds WHERE customer_id = 3;
-- either
SELECT * FROM (SELECT id AS customer_id, customer_id AS id FROM orders) s WHERE customer_id = 3;
-- either
SELECT * FROM (SELECT customer_id + 0 AS customer_id, id FROM orders) s WHERE customer_id = 3;
-- either
SELECT * FROM (SELECT customer_id, id FROM orders) s WHERE customer_id = 3;
-- either
SELECT * FROM (SELECT customer_id, count(*) FROM orders GROUP BY customer_id) s WHERE customer_id = 3;
-- either
SELECT * FROM (SELECT customer_id, row_number() OVER (ORDER BY customer_id, id) FROM orders) s WHERE customer_id = 3;
-- either
SELECT * FROM (SELECT customer_id, id FROM orders LIMIT 1000) s WHERE customer_id = 3;
-- either
SELECT * FROM (SELECT DISTINCT ON (status) status, customer_id FROM orders ORDER BY status, customer_id, id) s WHERE customer_id = 3;
-- either
SELECT id FROM orders WHERE CASE WHEN customer_id = 3 THEN true ELSE id = 1 END;
-- either
SELECT id FROM orders GROUP BY customer_id, id HAVING customer_id = 3;
-- either
SELECT count(*) FROM orders HAVING count(*) > 0 AND true;
-- either
SELECT id FROM orders WHERE customer_id = 3 AND customer_id = ANY (ARRAY[1, 2]);
