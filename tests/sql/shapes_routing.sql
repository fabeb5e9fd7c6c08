-- Shapes that proxies route to one shard although more are needed.
SELECT id FROM orders WHERE customer_id % 10 = 3;
SELECT id FROM orders WHERE customer_id + 1 = 6;
SELECT id FROM orders WHERE customer_id = 2 + 3;
-- parameters 2
SELECT id FROM orders WHERE customer_id = $1 + 1;
-- parameters 3
SELECT id FROM orders WHERE customer_id = -$1;
SELECT id FROM orders WHERE customer_id IN (1, 1+1);
SELECT id FROM orders WHERE customer_id IN (1, abs(-3));
SELECT id FROM orders WHERE customer_id = length('abc');
-- refused 0A000
SELECT count(*) FILTER (WHERE customer_id = 7) FROM orders;
SELECT CASE WHEN customer_id = 7 THEN 'seven' ELSE 'other' END FROM orders;
SELECT customer_id = 7 AS vip FROM customers;
-- refused 0A000
-- ordered
SELECT customer_id FROM customers ORDER BY (customer_id = 7), customer_id;
SELECT customer_id FROM customers WHERE (customer_id = 7) IS NOT TRUE;
SELECT customer_id FROM customers WHERE (customer_id = 7) IS TRUE;
SELECT customer_id FROM customers WHERE (customer_id = 7) = false;
SELECT customer_id FROM customers WHERE coalesce(customer_id = 7, true);
SELECT customer_id FROM customers WHERE NOT customer_id = 7;
SELECT customer_id FROM customers WHERE customer_id <> 7;
SELECT customer_id FROM customers WHERE customer_id = 7 OR true;
SELECT customer_id FROM customers WHERE customer_id = 7 OR name LIKE '%1%';
SELECT customer_id FROM customers WHERE customer_id = 7 IS NOT DISTINCT FROM false;
UPDATE customers SET vip = (customer_id = 7);
UPDATE customers SET vip = (customer_id = 7) WHERE customer_id = 3;
-- refused 0A000
SELECT a.customer_id, b.id FROM customers a LEFT JOIN orders b ON b.customer_id = 7;
SELECT a.customer_id, b.id FROM customers a LEFT JOIN orders b ON a.customer_id = b.customer_id AND b.customer_id = 7;
-- refused 0A000
SELECT a.customer_id, b.id FROM customers a LEFT JOIN orders b ON a.customer_id = 7;
SELECT a.customer_id, b.id FROM customers a RIGHT JOIN orders b ON a.customer_id = b.customer_id AND a.customer_id = 7;
SELECT a.customer_id, b.id FROM customers a FULL JOIN orders b ON a.customer_id = b.customer_id AND a.customer_id = 7;
SELECT a.customer_id, b.id FROM customers a LEFT JOIN orders b ON a.customer_id = b.customer_id WHERE b.customer_id = 7;
-- refused 0A000
SELECT customer_id, id FROM orders WHERE id IN (SELECT id FROM refunds WHERE customer_id = 3);
-- refused 0A000
SELECT customer_id, id FROM orders WHERE customer_id = 3 AND id IN (SELECT id FROM refunds);
SELECT customer_id FROM orders WHERE customer_id IN (SELECT customer_id FROM refunds WHERE customer_id = 3);
SELECT (SELECT count(*) FROM orders WHERE customer_id = 1), (SELECT count(*) FROM orders WHERE customer_id = 3);
WITH a AS (SELECT id FROM orders WHERE customer_id = 1), b AS (SELECT id FROM orders WHERE customer_id = 3) SELECT * FROM a, b;
WITH a AS (SELECT id FROM orders WHERE customer_id = 1), b AS (SELECT id FROM orders WHERE customer_id = 3) SELECT * FROM a;
SELECT id FROM orders WHERE customer_id = 1 UNION ALL SELECT id FROM orders WHERE customer_id = 2;
-- refused 0A000
SELECT id FROM orders WHERE customer_id = 1 UNION SELECT id FROM orders WHERE customer_id = 2;
-- refused 0A000
SELECT id FROM orders UNION SELECT id FROM refunds;
-- refused 0A000
SELECT id FROM orders INTERSECT SELECT id FROM refunds;
-- refused 0A000
SELECT id FROM orders EXCEPT SELECT id FROM refunds;
SELECT customer_id, id FROM orders EXCEPT SELECT customer_id, id FROM refunds;
SELECT id FROM orders UNION ALL SELECT id FROM refunds;
-- refused 0A000
SELECT EXISTS (SELECT 1 FROM orders);
-- refused 0A000
SELECT EXISTS (SELECT 1 FROM orders WHERE status = 'nothing');
-- refused 0A000
SELECT (SELECT count(*) FROM orders);
-- refused 0A000
SELECT 1 WHERE EXISTS (SELECT 1 FROM orders WHERE customer_id IN (1, 2, 3, 4));
-- refused 0A000
SELECT * FROM (SELECT count(*) FROM orders) s;
SELECT id FROM orders WHERE customer_id IN (1, 3);
SELECT id FROM orders WHERE customer_id IN (1, 2, 3, 4, 5, 6, 7, 8);
SELECT id FROM orders WHERE customer_id = ANY (ARRAY[1, 3]);
SELECT id FROM orders WHERE customer_id = ANY (SELECT 3);
SELECT id FROM orders WHERE customer_id = (SELECT 3);
-- refused 0A000
SELECT id FROM orders WHERE customer_id = (SELECT max(customer_id) FROM customers);
-- parameters 1 | 3
SELECT id FROM orders WHERE customer_id IN ($1, $2);
SELECT id FROM orders WHERE customer_id = '3';
SELECT id FROM orders WHERE customer_id = 3.0;
SELECT id FROM orders WHERE customer_id = 3.0::float8;
SELECT id FROM orders WHERE customer_id = '3'::numeric;
SELECT id FROM orders WHERE customer_id::text = '3';
SELECT id FROM orders WHERE customer_id = 3::oid;
SELECT id FROM orders WHERE customer_id > 2 AND customer_id < 4;
SELECT id FROM orders WHERE customer_id >= 3 AND customer_id <= 3;
-- refused 0A000
SELECT o.id FROM orders o, refunds r WHERE o.customer_id = 3;
SELECT o.id FROM orders o, refunds r WHERE o.customer_id = r.customer_id AND r.customer_id = 3;
-- refused 0A000
SELECT o.id FROM orders o, refunds r WHERE o.customer_id = r.id AND r.customer_id = 3;
SELECT o.id FROM orders o, refunds r WHERE o.customer_id = 3 AND r.customer_id = 1;
SELECT id FROM orders WHERE customer_id = 3 UNION ALL SELECT id FROM refunds WHERE customer_id = 3;
SELECT * FROM (SELECT id AS customer_id, customer_id AS id FROM orders) s WHERE customer_id = 3;
SELECT * FROM (SELECT customer_id + 0 AS customer_id, id FROM orders) s WHERE customer_id = 3;
SELECT * FROM (SELECT customer_id, id FROM orders) s WHERE customer_id = 3;
SELECT * FROM (SELECT customer_id, count(*) FROM orders GROUP BY customer_id) s WHERE customer_id = 3;
-- refused 0A000
SELECT * FROM (SELECT customer_id, row_number() OVER (ORDER BY customer_id, id) FROM orders) s WHERE customer_id = 3;
-- refused 0A000
SELECT * FROM (SELECT customer_id, id FROM orders LIMIT 1000) s WHERE customer_id = 3;
-- refused 0A000
SELECT * FROM (SELECT DISTINCT ON (status) status, customer_id FROM orders ORDER BY status, customer_id, id) s WHERE customer_id = 3;
SELECT id FROM orders WHERE CASE WHEN customer_id = 3 THEN true ELSE id = 1 END;
SELECT id FROM orders GROUP BY customer_id, id HAVING customer_id = 3;
-- refused 0A000
SELECT count(*) FROM orders HAVING count(*) > 0 AND true;
SELECT id FROM orders WHERE customer_id = 3 AND customer_id = ANY (ARRAY[1, 2]);
