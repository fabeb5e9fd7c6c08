-- Aggregates over several shards: exact, or refused.
-- refused 0A000
SELECT count(*) FROM orders;
-- refused 0A000
SELECT count(total) FROM orders;
-- refused 0A000
SELECT sum(id) FROM orders;
-- refused 0A000
SELECT sum(total) FROM orders;
-- refused 0A000
SELECT avg(id) FROM orders;
-- refused 0A000
SELECT avg(total) FROM orders;
-- refused 0A000
SELECT avg(customer_id), stddev(customer_id), variance(total) FROM orders;
SELECT avg(total) FROM orders WHERE customer_id = 3;
-- refused 0A000
SELECT coalesce(sum(total), 0) FROM orders;
-- refused 0A000
SELECT round(avg(total), 2) FROM orders;
-- refused 0A000
SELECT sum(id) / count(*) FROM orders;
-- refused 0A000
SELECT count(*), sum(id) / 2 FROM orders;
-- refused 0A000
SELECT id % 2, count(*) FROM orders GROUP BY id % 2;
-- refused 0A000
SELECT id % 2 AS odd, count(*) FROM orders GROUP BY odd;
-- refused 0A000
SELECT count(*) FROM orders GROUP BY status;
-- refused 0A000
SELECT count(*) FROM orders GROUP BY orders.status;
-- refused 0A000
SELECT status FROM orders GROUP BY status;
-- refused 0A000
SELECT status, count(*) FROM orders GROUP BY 1;
SELECT customer_id, count(*) FROM orders GROUP BY customer_id;
SELECT customer_id, status, sum(total), avg(total) FROM orders GROUP BY customer_id, status;
SELECT customer_id, count(*) FROM orders GROUP BY 1 HAVING count(*) > 2;
-- refused 0A000
SELECT status, id, count(*) FROM orders GROUP BY GROUPING SETS ((status), (id));
-- refused 0A000
SELECT status, count(*) FROM orders GROUP BY ROLLUP (status);
-- refused 0A000
SELECT customer_id, count(*) FROM orders GROUP BY ROLLUP (customer_id);
-- refused 0A000
SELECT customer_id, count(*) FROM orders GROUP BY CUBE (customer_id, status);
-- refused 0A000
SELECT status, count(*) FROM orders GROUP BY status HAVING sum(total) > 100;
-- refused 0A000
SELECT count(*) FROM orders HAVING count(*) > 1000;
-- refused 0A000
SELECT customer_id, count(*) OVER () FROM orders;
-- refused 0A000
SELECT customer_id, id, row_number() OVER (ORDER BY customer_id, id) FROM orders;
SELECT customer_id, id, rank() OVER (PARTITION BY customer_id ORDER BY id) FROM orders;
SELECT customer_id, id, lag(id) OVER (PARTITION BY customer_id ORDER BY id) FROM orders;
-- refused 0A000
SELECT customer_id, sum(total) OVER (PARTITION BY status) FROM orders;
-- refused 0A000
SELECT count(DISTINCT status) FROM orders;
-- refused 0A000
SELECT count(DISTINCT customer_id) FROM orders;
-- refused 0A000
SELECT sum(DISTINCT id) FROM orders;
-- refused 0A000
SELECT count(DISTINCT status)::int FROM orders;
-- refused 0A000
SELECT count(*)::int FROM orders;
-- refused 0A000
SELECT array_agg(id ORDER BY id) FROM orders;
-- refused 0A000
SELECT string_agg(status, ',' ORDER BY customer_id, id) FROM orders;
-- refused 0A000
SELECT json_agg(id ORDER BY id) FROM orders;
-- refused 0A000
SELECT bool_and(total > 1), bool_or(total IS NULL), every(id > 0) FROM orders;
-- refused 0A000
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders;
-- refused 0A000
SELECT mode() WITHIN GROUP (ORDER BY status) FROM orders;
-- refused 0A000
SELECT array_length(array_agg(id), 1) FROM orders;
-- refused 0A000
SELECT min(status), max(status) FROM orders;
-- refused 0A000
SELECT min(ts), max(ts) FROM orders;
-- refused 0A000
SELECT min(since), max(since) FROM customers;
-- refused 0A000
SELECT max(total), min(total) FROM orders;
-- refused 0A000
SELECT avg(ts - TIMESTAMPTZ '2020-01-01') FROM orders;
-- refused 0A000
SELECT sum(total::money) FROM orders;
-- refused 0A000
SELECT sum(id) FROM orders WHERE id > 1000;
-- refused 0A000
SELECT max(id), min(total), count(*) FROM orders WHERE id > 1000;
-- refused 0A000
SELECT bit_and(id), bit_or(id) FROM orders;
-- refused 0A000
SELECT corr(id, customer_id), regr_slope(id, customer_id) FROM orders;
-- refused 0A000
SELECT any_value FROM (SELECT count(*) AS any_value FROM orders) s;
-- refused 0A000
SELECT max(c) FROM (SELECT count(*) c FROM orders GROUP BY customer_id) s;
-- refused 0A000
SELECT count(*) FROM (SELECT DISTINCT status FROM orders) s;
-- refused 0A000
SELECT sum(total) FILTER (WHERE customer_id = 3) FROM orders;
-- refused 0A000
SELECT count(*) + 1 FROM orders;
-- refused 0A000
SELECT count(*) FROM orders, countries;
-- refused 0A000
SELECT count(*) FROM customers c JOIN countries n ON n.code = c.country;
-- refused 0A000
SELECT c.country, count(*) FROM customers c GROUP BY c.country;
-- refused 0A000
SELECT sum(1e30::numeric * id) FROM orders;
-- refused 0A000
SELECT sum(0.1::float8 * id) FROM orders;
-- refused 0A000
SELECT 1 FROM orders GROUP BY ();
SELECT count(*) FROM countries;
SELECT count(*), max(value) FROM settings;
