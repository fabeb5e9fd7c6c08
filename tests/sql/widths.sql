-- What (value).* and a function's row stand for moves what stands behind them.
CREATE TABLE rag (customer_id int8, v int4, t text);
CREATE TYPE width_pair AS (x int4, y int4);
CREATE TABLE wide (a int4, b int4, customer_id int8, d int4);
-- refused 0A000
INSERT INTO wide VALUES ((ROW(500, 6)::width_pair).*, 3, 4);
-- refused 0A000
INSERT INTO wide VALUES ((ROW(500, 6)::width_pair).*, 3, 4), (1, 2, 3, 4);
INSERT INTO wide VALUES ((ROW(500, 6)::width_pair).x, (ROW(500, 6)::width_pair).y, 3, 4);
CREATE TABLE wide_home (a int4, b int4, c int4);
INSERT INTO wide_home VALUES ((ROW(500, 6)::width_pair).*, 3), (1, (ROW(500, 6)::width_pair).*);
-- refused 0A000
INSERT INTO wide SELECT (ROW(500, 6)::width_pair).*, customer_id, 4 FROM customers WHERE customer_id = 4;
-- ordered
SELECT * FROM (SELECT (ROW(1, 2)::width_pair).*, customer_id FROM customers) s (a, b, c) WHERE b = 2 ORDER BY c;
-- ordered
WITH s (a, b, c) AS (SELECT (ROW(1, 2)::width_pair).*, customer_id FROM customers) SELECT * FROM s WHERE b = 2 ORDER BY c;
SELECT count(*) FROM (SELECT (ROW(1, 2)::width_pair).*, customer_id FROM customers) s (a, b, c) JOIN orders o ON o.customer_id = s.b;
SELECT (ROW(1, 2)::width_pair).*, customer_id, count(*) FROM customers CROSS JOIN (VALUES (1), (2)) v (q) GROUP BY 3;
SELECT (ROW(vip::int, 2)::width_pair).*, count(*) FROM customers GROUP BY vip;
SELECT count(*) FROM customers WHERE (2, customer_id, customer_id) IN (SELECT (ROW(2, o.customer_id)::width_pair).*, o.customer_id FROM orders o);
-- refused 0A000
WITH s (a, b, c) AS (INSERT INTO rag VALUES (2, 5), (6, 7) RETURNING (ROW(1, v)::width_pair).*, customer_id) SELECT count(*) FROM s WHERE b = 7;
-- ordered
SELECT * FROM orders o, (VALUES ((ROW(1, 2)::width_pair).*)) v ORDER BY o.customer_id, o.id;
-- ordered
SELECT * FROM orders o, (VALUES (3, (ROW(1, 2)::width_pair).*)) v (a, b) ORDER BY o.total, o.customer_id, o.id LIMIT 3;
-- So do columns of a function.
-- ordered
SELECT * FROM (SELECT u.*, c.customer_id FROM unnest(ARRAY[7], ARRAY[1]) u, customers c) s (a, b, c) WHERE b = 1 ORDER BY c;
SELECT count(*) FROM (SELECT u.*, c.customer_id FROM unnest(ARRAY[ROW(7, 1)::width_pair]) u, customers c) s (a, b, c) WHERE b = 1;
SELECT count(*) FROM (SELECT * FROM unnest(ARRAY[ROW(7, 1)::width_pair]) u, customers c) s (a, b, c) WHERE b = 1;
SELECT count(*) FROM (unnest(ARRAY[ROW(7, 1)::width_pair]) u CROSS JOIN customers c) AS s (a, b, c) WHERE b = 1;
SELECT count(*) FROM (SELECT DISTINCT u.*, o.status FROM unnest(ARRAY[ROW(1, 2)::width_pair, ROW(1, 3)::width_pair]) u, orders o) s;
SELECT count(*) FROM (SELECT DISTINCT u.*, o.status FROM unnest(ARRAY[1, 2]) u, orders o) s;
DROP TABLE rag;
DROP TABLE wide;
DROP TABLE wide_home;
DROP TYPE width_pair;
