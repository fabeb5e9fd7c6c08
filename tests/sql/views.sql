-- Views are the queries they stand for.
SELECT * FROM big_orders WHERE customer_id = 3;
SELECT * FROM big_orders;
SELECT * FROM big_orders b JOIN customers c USING (customer_id) WHERE customer_id = 3;
SELECT * FROM order_count WHERE customer_id = 3;
SELECT * FROM order_count;
SELECT * FROM all_orders;
SELECT * FROM labels;
SELECT * FROM big_orders ORDER BY customer_id, id LIMIT 1;
-- refused 0A000
UPDATE big_orders SET total = 101 WHERE customer_id = 3 AND id = 2;
-- refused 0A000
INSERT INTO big_orders VALUES (3, 100, 500);
-- refused 0A000
DELETE FROM big_orders WHERE customer_id = 3 AND id = 100;
SELECT total FROM big_orders WHERE customer_id = 3;
CREATE OR REPLACE VIEW big_orders AS SELECT customer_id, id, total FROM orders WHERE total > 200;
SELECT * FROM big_orders WHERE customer_id = 3;
SELECT * FROM big_orders;
CREATE VIEW nested AS SELECT b.customer_id, b.id, c.name FROM big_orders b JOIN customers c ON c.customer_id = b.customer_id;
SELECT * FROM nested WHERE customer_id = 3;
SELECT * FROM nested;
CREATE VIEW hidden AS SELECT id AS customer_id, customer_id AS id FROM orders;
SELECT * FROM hidden WHERE customer_id = 3;
SELECT * FROM hidden WHERE id = 3;
CREATE VIEW mine AS SELECT * FROM orders WHERE customer_id = 3;
SELECT * FROM mine;
SELECT * FROM mine WHERE customer_id = 1;
DROP VIEW nested, hidden, mine;
SELECT * FROM mine;
