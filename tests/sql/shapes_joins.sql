-- Joins, subqueries and CTEs over several shards: exact, or refused.
SELECT c.customer_id, o.id FROM customers c JOIN orders o ON o.customer_id = c.customer_id;
SELECT c.customer_id, o.id FROM customers c JOIN orders o USING (customer_id);
SELECT customer_id, name, status FROM customers NATURAL JOIN orders;
SELECT c.customer_id, o.id FROM customers c, orders o WHERE o.customer_id = c.customer_id;
SELECT c.customer_id, o.id FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id;
SELECT c.customer_id, o.id FROM orders o RIGHT JOIN customers c ON o.customer_id = c.customer_id;
SELECT c.customer_id, o.id FROM customers c FULL JOIN orders o ON o.customer_id = c.customer_id;
SELECT c.customer_id, o.id, i.line FROM customers c JOIN orders o USING (customer_id) JOIN items i ON i.customer_id = o.customer_id AND i.order_id = o.id;
SELECT c.customer_id, o.id FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id AND o.status = 'paid';
-- refused 0A000
SELECT o.id, r.id FROM orders o JOIN refunds r ON o.id = r.id;
-- refused 0A000
SELECT o.id, r.id FROM orders o JOIN refunds r ON o.customer_id = r.id;
-- refused 0A000
SELECT o.id, r.id FROM orders o CROSS JOIN refunds r;
-- refused 0A000
SELECT a.customer_id, b.customer_id FROM customers a JOIN customers b ON a.customer_id < b.customer_id;
-- refused 0A000
SELECT a.customer_id, b.customer_id FROM customers a JOIN customers b ON a.customer_id = b.customer_id + 1;
SELECT c.customer_id, n.name FROM customers c JOIN countries n ON n.code = c.country;
SELECT c.customer_id, n.name FROM customers c LEFT JOIN countries n ON n.code = c.country;
-- refused 0A000
SELECT n.name, c.customer_id FROM countries n LEFT JOIN customers c ON n.code = c.country;
SELECT n.name, c.customer_id FROM countries n RIGHT JOIN customers c ON n.code = c.country;
-- refused 0A000
SELECT n.name, c.customer_id FROM countries n FULL JOIN customers c ON n.code = c.country;
-- refused 0A000
SELECT n.name FROM countries n WHERE NOT EXISTS (SELECT 1 FROM customers c WHERE c.country = n.code);
-- refused 0A000
SELECT n.name FROM countries n WHERE EXISTS (SELECT 1 FROM customers c WHERE c.country = n.code);
-- refused 0A000
SELECT n.name FROM countries n WHERE n.code IN (SELECT country FROM customers);
SELECT n.name FROM countries n WHERE n.code NOT IN (SELECT country FROM customers WHERE customer_id = 3);
-- refused 0A000
SELECT n.name, (SELECT count(*) FROM customers c WHERE c.country = n.code) FROM countries n;
SELECT c.customer_id FROM customers c WHERE c.country IN (SELECT code FROM countries WHERE name LIKE 'G%');
SELECT c.customer_id, (SELECT name FROM countries n WHERE n.code = c.country) FROM customers c;
SELECT c.customer_id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.customer_id);
SELECT c.customer_id FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.customer_id);
SELECT c.customer_id FROM customers c WHERE c.customer_id IN (SELECT o.customer_id FROM orders o);
-- refused 0A000
SELECT c.customer_id FROM customers c WHERE c.customer_id NOT IN (SELECT o.customer_id FROM orders o);
SELECT c.customer_id FROM customers c WHERE c.customer_id = ANY (SELECT o.customer_id FROM orders o WHERE o.id > 2);
SELECT c.customer_id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.customer_id) FROM customers c;
-- refused 0A000
SELECT c.customer_id, (SELECT max(total) FROM orders o) FROM customers c;
-- refused 0A000
SELECT id FROM orders WHERE total > (SELECT avg(total) FROM orders);
SELECT id FROM orders o WHERE total > (SELECT avg(total) FROM orders i WHERE i.customer_id = o.customer_id);
-- refused 0A000
SELECT id FROM orders o WHERE total = (SELECT max(total) FROM orders i WHERE i.status = o.status);
-- refused 0A000
SELECT count(*) FROM (SELECT DISTINCT customer_id FROM orders) s;
WITH t AS (SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id) SELECT * FROM t WHERE n > 2;
-- refused 0A000
WITH t AS (SELECT count(*) AS n FROM orders) SELECT n FROM t;
WITH t AS (SELECT * FROM orders) SELECT t.id, c.name FROM t JOIN customers c USING (customer_id);
WITH t AS MATERIALIZED (SELECT * FROM orders) SELECT a.id FROM t a JOIN t b ON a.customer_id = b.customer_id AND a.id = b.id;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i, customer_id FROM n, customers;
-- refused 0A000
WITH RECURSIVE t AS (SELECT customer_id, id FROM orders WHERE id = 1 UNION ALL SELECT o.customer_id, o.id FROM orders o JOIN t ON o.customer_id = t.customer_id AND o.id = t.id + 1) SELECT * FROM t;
-- refused 0A000
WITH RECURSIVE t AS (SELECT customer_id, id FROM orders WHERE id = 1 UNION SELECT o.customer_id, o.id FROM orders o JOIN t ON o.id = t.customer_id) SELECT * FROM t;
SELECT c.customer_id, s.id FROM customers c, LATERAL (SELECT id FROM orders o WHERE o.customer_id = c.customer_id ORDER BY id DESC LIMIT 1) s;
SELECT c.customer_id, s.id FROM customers c LEFT JOIN LATERAL (SELECT id FROM orders o WHERE o.customer_id = c.customer_id ORDER BY id LIMIT 2) s ON true;
-- refused 0A000
SELECT c.customer_id, s.n FROM customers c, LATERAL (SELECT count(*) AS n FROM orders o WHERE o.id = c.customer_id) s;
SELECT c.customer_id, v.x FROM customers c, (VALUES (1), (2)) v(x);
-- refused 0A000
SELECT v.x, c.customer_id FROM (VALUES (1), (2)) v(x) LEFT JOIN customers c ON c.customer_id = v.x;
SELECT c.customer_id, v.x FROM customers c LEFT JOIN (VALUES (1), (2)) v(x) ON c.customer_id = v.x;
-- refused 0A000
SELECT c.customer_id, s.value FROM customers c, settings s;
-- refused 0A000
SELECT c.customer_id, s.value FROM customers c, settings s WHERE c.customer_id = 3;
-- refused 0A000
SELECT c.customer_id FROM customers c WHERE c.customer_id::text = (SELECT value FROM settings WHERE key = 'size');
-- refused 0A000
SELECT s.key FROM settings s WHERE EXISTS (SELECT 1 FROM customers c WHERE c.customer_id::text = s.value);
SELECT s.key, n.name FROM settings s CROSS JOIN countries n;
SELECT n.name, p.name FROM countries n CROSS JOIN products p WHERE p.price < 1;
SELECT c.customer_id, g FROM customers c, generate_series(1, 2) g;
-- refused 0A000
SELECT g, c.customer_id FROM generate_series(1, 20) g LEFT JOIN customers c ON c.customer_id = g;
SELECT * FROM (SELECT customer_id FROM orders UNION ALL SELECT customer_id FROM refunds) s WHERE customer_id = 3;
SELECT s.customer_id, c.name FROM (SELECT customer_id FROM orders UNION ALL SELECT customer_id FROM refunds) s JOIN customers c USING (customer_id);
-- refused 0A000
SELECT code FROM countries UNION ALL SELECT country FROM customers;
SELECT code FROM countries UNION ALL SELECT code FROM countries;
-- refused 0A000
SELECT customer_id FROM customers UNION ALL SELECT 0;
SELECT customer_id FROM customers UNION ALL SELECT customer_id FROM orders UNION ALL SELECT customer_id FROM refunds;
SELECT l.l_orderkey, c.name FROM lineitem l JOIN customers c ON c.customer_id = l.l_orderkey;
SELECT t.v, c.name FROM k_int2 t JOIN customers c ON c.customer_id = t.customer_id;
SELECT t.v, u.v FROM k_text t JOIN k_varchar u ON t.customer_id = u.customer_id;
-- refused 0A000
SELECT t.v, u.v FROM k_text t JOIN k_char u ON t.customer_id = u.customer_id;
-- refused 0A000
SELECT t.v, u.v FROM k_varchar t JOIN k_char u ON t.customer_id = u.customer_id;
SELECT count(*) FROM pg_class c, orders o WHERE c.relname = 'orders' AND o.customer_id = 3;
-- refused 0A000
SELECT relname FROM pg_class, customers WHERE relname = 'orders';
SELECT (SELECT status FROM orders WHERE customer_id = 3 AND id = 1) AS s, name FROM customers WHERE customer_id = 3;
SELECT (SELECT status FROM orders WHERE customer_id = 3 AND id = 1) AS s, name FROM customers WHERE customer_id = 1;
-- refused 0A000
SELECT (SELECT status FROM orders WHERE customer_id = 3 AND id = 1) AS s, name FROM customers;
