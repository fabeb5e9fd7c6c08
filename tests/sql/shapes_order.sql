-- Order, limits, distinct over several shards: exact, or refused.
SELECT customer_id FROM customers LIMIT 100;
SELECT count(*) FROM (SELECT customer_id FROM customers LIMIT 5) s;
SELECT count(*) FROM (SELECT customer_id FROM customers OFFSET 5) s;
SELECT customer_id FROM customers OFFSET 0;
SELECT customer_id FROM customers LIMIT ALL;
SELECT customer_id FROM customers LIMIT NULL;
SELECT customer_id FROM customers LIMIT 0;
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id;
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT 3;
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id OFFSET 3;
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT ALL OFFSET 3;
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT 1 + 2;
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT 3::bigint;
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id LIMIT (SELECT 2);
-- ordered
SELECT customer_id FROM customers ORDER BY -customer_id;
-- ordered
SELECT name FROM customers ORDER BY customer_id;
-- ordered
SELECT customer_id, name FROM customers ORDER BY 1;
-- ordered
SELECT customer_id, name FROM customers ORDER BY 2 NULLS FIRST;
-- ordered
SELECT customer_id, name FROM customers ORDER BY name DESC NULLS LAST;
-- ordered
SELECT customer_id, id, status FROM orders ORDER BY status, customer_id, id;
-- ordered
SELECT customer_id, id, total FROM orders ORDER BY total NULLS FIRST, customer_id, id;
-- ordered
SELECT customer_id, id, ts FROM orders ORDER BY ts DESC, customer_id, id;
-- ordered
SELECT customer_id, since FROM customers ORDER BY since;
-- ordered
SELECT status, count(*) FROM orders GROUP BY status ORDER BY count(*) DESC, status LIMIT 2;
-- ordered
SELECT customer_id, count(*) FROM orders GROUP BY customer_id ORDER BY 2 DESC, 1;
SELECT DISTINCT status FROM orders;
SELECT DISTINCT customer_id FROM orders;
SELECT DISTINCT customer_id, status FROM orders;
SELECT DISTINCT id FROM orders;
-- ordered
SELECT DISTINCT ON (status) status, customer_id, id FROM orders ORDER BY status, customer_id, id;
-- ordered
SELECT DISTINCT ON (customer_id) customer_id, id FROM orders ORDER BY customer_id, id DESC;
-- ordered
SELECT customer_id FROM customers ORDER BY customer_id FETCH FIRST 2 ROWS ONLY;
-- ordered
SELECT id FROM orders ORDER BY id FETCH FIRST 2 ROWS WITH TIES;
-- ordered
SELECT customer_id FROM customers WHERE customer_id IN (3, 1, 2) ORDER BY customer_id;
-- ordered
SELECT customer_id FROM customers WHERE customer_id = 3 ORDER BY customer_id;
-- refused 0A000
SELECT customer_id FROM customers ORDER BY customer_id FOR UPDATE;
SELECT customer_id FROM customers FOR UPDATE;
SELECT customer_id FROM customers FOR SHARE SKIP LOCKED;
SELECT * FROM orders TABLESAMPLE BERNOULLI (100);
SELECT customer_id FROM customers WHERE random() < 2;
SELECT customer_id, now() = now() FROM customers;
SELECT generate_series(1, 2), customer_id FROM customers;
-- refused 0A000
SELECT ctid = ctid FROM customers;
-- ordered
-- parameters 3
SELECT customer_id FROM customers ORDER BY customer_id LIMIT $1;
-- ordered
-- parameters 3 | 2
SELECT customer_id FROM customers ORDER BY customer_id LIMIT $1 OFFSET $2;
-- Rows without columns.
-- ordered
SELECT FROM orders ORDER BY id;
-- ordered
SELECT FROM orders ORDER BY id, customer_id LIMIT 2;
SELECT FROM orders;
-- LIMIT and OFFSET at the ends of their range.
-- parameters 9223372036854775807 | 2
-- ordered
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT $1 OFFSET $2;
-- parameters 3 | 9223372036854775807
-- ordered
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT $1 OFFSET $2;
-- parameters 1 | -5
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT $1 OFFSET $2;
-- parameters -1 | 5
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT $1 OFFSET $2;
-- parameters -9 | 5
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT $1 OFFSET $2;
-- parameters null | 1
-- ordered
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT $1 OFFSET $2;
-- parameters 2 | null
-- ordered
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT $1 OFFSET $2;
-- parameters 2
-- ordered
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT 1 OFFSET $1;
-- parameters -2
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT 1 OFFSET $1;
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT 1 OFFSET -5;
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT 9 OFFSET -5;
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT -1 OFFSET -5;
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT -1;
-- ordered
SELECT customer_id, id FROM orders ORDER BY id, customer_id LIMIT 9223372036854775807 OFFSET 2;
SELECT count(*) FROM (SELECT id FROM orders ORDER BY id LIMIT 1 OFFSET -1) o;
