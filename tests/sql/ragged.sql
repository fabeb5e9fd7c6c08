-- Rows of VALUES that are not all of one length, and other lists that do not fit.
CREATE TABLE rag (customer_id int8, v int4, t text);
INSERT INTO rag VALUES (1, 1), (4, 2, 'z');
INSERT INTO rag VALUES (1, 1), (4, 2, 'z') RETURNING *;
INSERT INTO rag VALUES (1, 1, 'a'), (4, 2), (5, 3);
INSERT INTO rag (customer_id, v) VALUES (1, 1), (4);
INSERT INTO rag (customer_id, v) VALUES (1, 1, 'a'), (4, 2, 'b');
INSERT INTO rag (customer_id, v, t) VALUES (1, 1), (4, 2);
INSERT INTO rag VALUES (1, 1, 'a', 2), (4, 2, 'b', 2);
INSERT INTO rag VALUES (1 + 0, 1), (4 + 0, 2, 'z');
WITH w AS (INSERT INTO rag VALUES (1, 1), (4, 2, 'z') RETURNING *) SELECT * FROM w;
INSERT INTO countries VALUES ('AA'), ('AB', 'b');
-- parameters 1 | 4
INSERT INTO rag VALUES ($1, 1), ($2, 2, 'z');
SELECT * FROM rag;
INSERT INTO rag VALUES (1, 1), (4, 2);
VALUES (1, 2), (3);
SELECT c.customer_id FROM customers c JOIN (VALUES (1, 2), (3)) v (a, b) ON v.a = c.customer_id;
WITH v (a) AS (VALUES (1, 2), (3)) SELECT c.customer_id FROM customers c JOIN v ON v.a = c.customer_id;
INSERT INTO rag SELECT * FROM (VALUES (1, 1), (4, 2, 'z')) v;
INSERT INTO rag SELECT customer_id, 1 FROM customers UNION ALL SELECT customer_id FROM customers;
SELECT customer_id, 1 FROM customers UNION SELECT customer_id FROM customers;
MERGE INTO rag USING (VALUES (1, 1), (4, 2, 'z')) s (a, b) ON rag.customer_id = s.a WHEN MATCHED THEN UPDATE SET v = s.b;
MERGE INTO rag USING (VALUES (1, 1), (4, 2)) s (a, b) ON rag.customer_id = s.a WHEN NOT MATCHED THEN INSERT (customer_id, v) VALUES (a);
MERGE INTO rag USING (VALUES (1, 1), (4, 2)) s (a, b) ON rag.customer_id = s.a WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (a, b);
SELECT * FROM rag;
DROP TABLE rag;
