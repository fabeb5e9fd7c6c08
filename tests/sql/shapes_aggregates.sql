-- Aggregates over several shards: exact, or refused.
-- either
SELECT count(*) FROM orders;
-- either
SELECT count(total) FROM orders;
-- either
SELECT sum(id) FROM orders;
-- either
SELECT sum(total) FROM orders;
-- either
SELECT avg(id) FROM orders;
-- either
SELECT avg(total) FROM orders;
-- either
SELECT avg(customer_id), stddev(customer_id), variance(total) FROM orders;
-- either
SELECT avg(total) FROM orders WHERE customer_id = 3;
-- either
SELECT coalesce(sum(total), 0) FROM orders;
-- either
SELECT round(avg(total), 2) FROM orders;
-- either
SELECT sum(id) / count(*) FROM orders;
-- either
SELECT count(*), sum(id) / 2 FROM orders;
-- either
SELECT id % 2, count(*) FROM orders GROUP BY id % 2;
-- either
SELECT id % 2 AS odd, count(*) FROM orders GROUP BY odd;
-- either
SELECT count(*) FROM orders GROUP BY status;
-- either
SELECT count(*) FROM orders GROUP BY orders.status;
-- either
SELECT status FROM orders GROUP BY status;
-- either
SELECT status, count(*) FROM orders GROUP BY 1;
-- either
SELECT customer_id, count(*) FROM orders GROUP BY customer_id;
-- either
SELECT customer_id, status, sum(total), avg(total) FROM orders GROUP BY customer_id, status;
-- either
SELECT customer_id, count(*) FROM orders GROUP BY 1 HAVING count(*) > 2;
-- either
SELECT status, id, count(*) FROM orders GROUP BY GROUPING SETS ((status), (id));
-- either
SELECT status, count(*) FROM orders GROUP BY ROLLUP (status);
-- either
SELECT customer_id, count(*) FROM orders GROUP BY ROLLUP (customer_id);
-- either
SELECT customer_id, count(*) FROM orders GROUP BY CUBE (customer_id, status);
-- either
SELECT status, count(*) FROM orders GROUP BY status HAVING sum(total) > 100;
-- either
SELECT count(*) FROM orders HAVING count(*) > 1000;
-- either
SELECT customer_id, count(*) OVER () FROM orders;
-- either
SELECT customer_id, id, row_number() OVER (ORDER BY customer_id, id) FROM orders;
-- either
SELECT customer_id, id, rank() OVER (PARTITION BY customer_id ORDER BY id) FROM orders;
-- either
SELECT customer_id, id, lag(id) OVER (PARTITION BY customer_id ORDER BY id) FROM orders;
-- either
SELECT customer_id, sum(total) OVER (PARTITION BY status) FROM orders;
-- either
SELECT count(DISTINCT status) FROM orders;
-- either
SELECT count(DISTINCT customer_id) FROM orders;
-- either
SELECT sum(DISTINCT id) FROM orders;
-- either
SELECT count(DISTINCT status)::int FROM orders;
-- either
SELECT count(*)::int FROM orders;
-- either
SELECT array_agg(id ORDER BY id) FROM orders;
-- either
SELECT string_agg(status, ',' ORDER BY customer_id, id) FROM orders;
-- either
SELECT json_agg(id ORDER BY id) FROM orders;
-- either
SELECT bool_and(total > 1), bool_or(total IS NULL), every(id > 0) FROM orders;
-- either
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders;
-- either
SELECT mode() WITHIN GROUP (ORDER BY status) FROM orders;
-- either
SELECT array_length(array_agg(id), 1) FROM orders;
-- either
SELECT min(status), max(status) FROM orders;
-- either
SELECT min(ts), max(ts) FROM orders;
-- either
SELECT min(since), max(since) FROM customers;
-- either
SELECT max(total), min(total) FROM orders;
-- either
SELECT avg(ts - TIMESTAMPTZ '2020-01-01') FROM orders;
-- either
SELECT sum(total::money) FROM orders;
-- either
SELECT sum(id) FROM orders WHERE id > 1000;
-- either
SELECT max(id), min(total), count(*) FROM orders WHERE id > 1000;
-- either
SELECT bit_and(id), bit_or(id) FROM orders;
-- either
SELECT corr(id, customer_id), regr_slope(id, customer_id) FROM orders;
-- either
SELECT any_value FROM (SELECT count(*) AS any_value FROM orders) s;
-- either
SELECT max(c) FROM (SELECT count(*) c FROM orders GROUP BY customer_id) s;
-- either
SELECT count(*) FROM (SELECT DISTINCT status FROM orders) s;
-- either
SELECT sum(total) FILTER (WHERE customer_id = 3) FROM orders;
-- either
SELECT count(*) + 1 FROM orders;
-- either
SELECT count(*) FROM orders, countries;
-- either
SELECT count(*) FROM customers c JOIN countries n ON n.code = c.country;
-- either
SELECT c.country, count(*) FROM customers c GROUP BY c.country;
-- either
SELECT sum(1e30::numeric * id) FROM orders;
-- either
SELECT sum(0.1::float8 * id) FROM orders;
-- either
SELECT 1 FROM orders GROUP BY ();
-- either
SELECT count(*) FROM countries;
-- either
SELECT count(*), max(value) FROM settings;
