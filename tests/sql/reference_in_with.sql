-- Writes of reference tables in WITH. Their rows are the same on every shard: what is returned are those of one.
WITH s AS (UPDATE countries SET name = 'A' WHERE code = 'DE' RETURNING *) SELECT * FROM s;
WITH s AS (UPDATE countries SET name = 'A' WHERE code = 'XX' RETURNING *) SELECT * FROM s;
WITH s AS (UPDATE countries SET name = 'A' WHERE code = 'XX' RETURNING *) SELECT count(*) FROM s;
WITH s AS (INSERT INTO countries VALUES ('AA', 'a'), ('AB', 'b') RETURNING *) SELECT count(*), max(name) FROM s;
WITH s AS (INSERT INTO countries SELECT 'B' || g, 'x' FROM generate_series(1, 3) g RETURNING *) SELECT * FROM s;
WITH s AS (INSERT INTO countries SELECT 'B' || g, 'y' FROM generate_series(3, 4) g ON CONFLICT (code) DO UPDATE SET name = 'again' RETURNING *) SELECT * FROM s;
WITH s AS (INSERT INTO countries SELECT 'B' || g, 'y' FROM generate_series(4, 5) g RETURNING *) SELECT * FROM s;
WITH s AS (DELETE FROM countries WHERE code LIKE 'B%' RETURNING code) SELECT string_agg(code, ',' ORDER BY code) FROM s;
WITH s AS (UPDATE countries SET name = 'now' WHERE code = 'FR' RETURNING code), t AS (DELETE FROM products WHERE id = 4 RETURNING name) SELECT * FROM s, t;
WITH s AS (UPDATE countries SET name = 'N' WHERE code = 'US' RETURNING code) SELECT c.customer_id, s.code FROM s JOIN customers c ON c.country = s.code WHERE c.customer_id < 20;
-- parameters US
WITH s AS (UPDATE countries SET name = 'P' WHERE code = $1 RETURNING *) SELECT * FROM s;
-- refused 0A000
WITH s AS (UPDATE countries SET name = 'Q' WHERE code = 'US' RETURNING *) SELECT s.code, c.name FROM s JOIN countries c USING (code);
BEGIN;
WITH s AS (UPDATE countries SET name = 'R' WHERE code = 'US' RETURNING *) SELECT * FROM s;
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
WITH s AS (UPDATE countries SET name = 'R' WHERE code = 'US' RETURNING *) SELECT * FROM s;
COMMIT;
SELECT * FROM countries;
