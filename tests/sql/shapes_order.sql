-- Order, limits, distinct over several shards: exact, or refused.
-- either
SELECT customer_id FROM customers LIMIT 100;
-- either
SELECT count(*) FROM (SELECT customer_id FROM customers LIMIT 5) s;
-- either
SELECT count(*) FROM (SELECT customer_id FROM customers OFFSET 5) s;
-- either
SELECT customer_id FROM customers OFFSET 0;
-- either
SELECT customer_id FROM customers LIMIT ALL;
-- either
SELECT customer_id FROM customers LIMIT NULL;
-- either
SELECT customer_id FROM customers LIMIT 0;
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id;
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT 3;
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id OFFSET 3;
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT ALL OFFSET 3;
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT 1 + 2;
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT 3::bigint;
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT (SELECT 2);
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY -customer_id;
-- either
-- ordered
SELECT name FROM customers ORDER BY customer_id;
-- either
-- ordered
SELECT customer_id, name FROM customers ORDER BY 1;
-- either
-- ordered
SELECT customer_id, name FROM customers ORDER BY 2 NULLS FIRST;
-- either
-- ordered
SELECT customer_id, name FROM customers ORDER BY name DESC NULLS LAST;
-- either
-- ordered
SELECT customer_id, id, status FROM orders ORDER BY status, customer_id, id;
-- either
-- ordered
SELECT customer_id, id, total FROM orders ORDER BY total NULLS FIRST, customer_id, id;
-- either
-- ordered
SELECT customer_id, id, ts FROM orders ORDER BY ts DESC, customer_id, id;
-- either
-- ordered
SELECT customer_id, since FROM customers ORDER BY since;
-- either
-- ordered
SELECT status, count(*) FROM orders GROUP BY status ORDER BY count(*) DESC, status LIMIT 2;
-- either
-- ordered
SELECT customer_id, count(*) FROM orders GROUP BY customer_id ORDER BY 2 DESC, 1;
-- either
SELECT DISTINCT status FROM orders;
-- either
SELECT DISTINCT customer_id FROM orders;
-- either
SELECT DISTINCT customer_id, status FROM orders;
-- either
SELECT DISTINCT id FROM orders;
-- either
-- ordered
SELECT DISTINCT ON (status) status, customer_id, id FROM orders ORDER BY status, customer_id, id;
-- either
-- ordered
SELECT DISTINCT ON (customer_id) customer_id, id FROM orders ORDER BY customer_id, id DESC;
-- either
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id FETCH FIRST 2 ROWS ONLY;
-- either
-- ordered
SELECT id FROM orders ORDER BY id FETCH FIRST 2 ROWS WITH TIES;
-- either
-- ordered
SELECT customer_id FROM customers WHERE customer_id IN (3, 1, 2) ORDER BY customer_id;
-- either
-- ordered
SELECT customer_id FROM customers WHERE customer_id = 3 ORDER BY customer_id;
-- either
SELECT customer_id FROM customers ORDER BY customer_id FOR UPDATE;
-- either
SELECT customer_id FROM customers FOR UPDATE;
-- either
SELECT customer_id FROM customers FOR SHARE SKIP LOCKED;
-- either
SELECT * FROM orders TABLESAMPLE BERNOULLI (100);
-- either
SELECT customer_id FROM customers WHERE random() < 2;
-- either
SELECT customer_id, now() = now() FROM customers;
-- either
SELECT generate_series(1, 2), customer_id FROM customers;
-- either
SELECT ctid = ctid FROM customers;
-- either
-- ordered
-- parameters 3
SELECT customer_id FROM customers ORDER BY customer_id LIMIT $1;
-- either
-- ordered
-- parameters 3 | 2
SELECT customer_id FROM customers ORDER BY customer_id LIMIT $1 OFFSET $2;
