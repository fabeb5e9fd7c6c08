-- FOR UPDATE over several shards: where every row that is locked is returned, in any order.
SELECT customer_id, id FROM orders WHERE customer_id IN (1, 2, 3) FOR UPDATE;
SELECT customer_id, id FROM orders WHERE customer_id IN (1, 2, 3) FOR UPDATE SKIP LOCKED;
SELECT o.customer_id, o.id, p.name FROM orders o JOIN products p ON p.id = o.id WHERE o.customer_id IN (1, 2, 3) FOR NO KEY UPDATE OF o NOWAIT;
SELECT customer_id, id FROM orders WHERE id < 3 FOR SHARE;
-- parameters 1 | 2 | 3
SELECT customer_id, id FROM orders WHERE customer_id IN ($1, $2, $3) FOR UPDATE;
-- One key, or several of one shard's: as PostgreSQL does it.
SELECT customer_id, id FROM orders WHERE customer_id = 3 ORDER BY id LIMIT 3 FOR UPDATE;
-- ordered
SELECT customer_id, id FROM orders WHERE customer_id IN (3, 3) ORDER BY id DESC LIMIT 3 FOR UPDATE SKIP LOCKED;
-- parameters 3 | 2
SELECT customer_id, id FROM orders WHERE customer_id IN ($1, $1) ORDER BY id LIMIT $2 FOR UPDATE;
-- With LIMIT each shard would lock rows that are not returned; sorted rows are not locked where they are.
-- refused 0A000
SELECT customer_id, id FROM orders WHERE customer_id IN (1, 2, 3) ORDER BY customer_id, id LIMIT 3 FOR UPDATE;
-- refused 0A000
SELECT customer_id, id FROM orders WHERE customer_id IN (1, 2, 3) LIMIT 30 FOR UPDATE;
-- refused 0A000
SELECT customer_id, id FROM orders WHERE customer_id IN (1, 2, 3) OFFSET 1 FOR UPDATE SKIP LOCKED;
-- parameters 1 | 2 | 3
-- refused 0A000
SELECT customer_id, id FROM orders WHERE customer_id IN ($1, $2) ORDER BY id LIMIT $3 FOR UPDATE;
-- refused 0A000
SELECT customer_id, id FROM orders ORDER BY customer_id, id LIMIT 3 FOR UPDATE;
-- refused 0A000
SELECT customer_id, id FROM orders WHERE customer_id IN (1, 2, 3) ORDER BY id FOR UPDATE;
-- refused 0A000
SELECT count(*) FROM (SELECT 1 FROM orders WHERE customer_id IN (1, 2, 3) FOR UPDATE) x;
-- refused 0A000
SELECT * FROM (SELECT customer_id, id FROM orders WHERE customer_id IN (1, 2, 3) FOR UPDATE) x ORDER BY 1, 2 LIMIT 2;
-- Without locks the same is answered.
-- ordered
SELECT customer_id, id FROM orders WHERE customer_id IN (1, 2, 3) ORDER BY customer_id, id LIMIT 3;
SELECT count(*) FROM (SELECT 1 FROM orders WHERE customer_id IN (1, 2, 3)) x;
-- Rows that are selected first are locked by their keys.
BEGIN;
-- ordered
SELECT customer_id, id FROM orders WHERE customer_id IN (1, 2, 3) ORDER BY customer_id, id LIMIT 3;
SELECT customer_id, id FROM orders WHERE (customer_id, id) IN ((1, 1), (2, 1), (2, 2)) FOR UPDATE;
COMMIT;
