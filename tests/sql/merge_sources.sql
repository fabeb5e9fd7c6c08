-- MERGE over several shards from sources of every form: joins, functions, rows as a whole, WITH queries that other parts name; and
-- sub-selects in what it inserts, which see what was there before the statement.
MERGE INTO refunds r USING (orders o JOIN items i ON i.customer_id = o.customer_id AND i.order_id = o.id) ON r.customer_id = o.customer_id + 1 AND r.id = i.order_id + 40 WHEN MATCHED THEN UPDATE SET amount = i.price WHEN NOT MATCHED THEN INSERT VALUES (o.customer_id + 1, o.id + 40, i.quantity);
MERGE INTO refunds r USING (orders o JOIN customers c USING (customer_id)) ON r.customer_id = c.customer_id + 1 AND r.id = o.id WHEN MATCHED THEN UPDATE SET amount = o.total WHEN NOT MATCHED THEN INSERT VALUES (customer_id + 1, o.id, c.credit);
MERGE INTO refunds r USING (orders o JOIN customers c USING (customer_id)) AS j ON r.customer_id = j.customer_id + 2 AND r.id = j.id + 60 WHEN MATCHED THEN UPDATE SET amount = j.total WHEN NOT MATCHED THEN INSERT VALUES (j.customer_id + 2, j.id + 60, j.credit);
MERGE INTO refunds r USING (orders o LEFT JOIN products p ON p.id = o.id) ON r.customer_id = o.customer_id + 1 AND r.id = o.id + 80 WHEN MATCHED THEN UPDATE SET amount = p.price WHEN NOT MATCHED AND p.id IS NULL THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (o.customer_id + 1, o.id + 80, p.price);
MERGE INTO refunds r USING (customers c CROSS JOIN products) ON r.customer_id = c.customer_id + 1 AND r.id = products.id + 90 WHEN NOT MATCHED THEN INSERT VALUES (c.customer_id + 1, products.id + 90, credit);
-- Names that are the target's too: where nothing matches, the target's are not seen.
MERGE INTO customers t USING (orders o JOIN products p ON p.id = o.id) ON t.customer_id = o.customer_id + 20 WHEN NOT MATCHED AND id = 1 THEN INSERT (customer_id, name) VALUES (customer_id + 20, p.name || note);
MERGE INTO customers t USING (orders o JOIN products p ON p.id = o.id) ON t.customer_id = o.customer_id + 20 WHEN MATCHED AND customer_id > 3 THEN DELETE WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (o.customer_id + 20);
MERGE INTO customers t USING (orders o JOIN products p ON p.id = o.id) ON t.customer_id = o.customer_id + 20 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (customer_id, name) VALUES (o.customer_id + 20, t.name);
-- refused 0A000
MERGE INTO orders o USING (orders o JOIN products p ON p.id = o.id) ON true WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (o.customer_id + 20, 1);
-- refused 0A000
MERGE INTO refunds o_2 USING (customers o JOIN LATERAL (SELECT max(o.id) AS id FROM orders o WHERE o.customer_id < 5) o_1 ON true) ON o_2.customer_id = o.customer_id + 30 WHEN NOT MATCHED THEN INSERT VALUES (o.customer_id + 30, o_1.id, credit);
-- Functions.
MERGE INTO refunds r USING generate_series(1, 4) g ON r.customer_id = g AND r.id = 50 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (g, 50, 1);
MERGE INTO refunds r USING generate_series(1, 6) AS g(n) ON r.customer_id = g.n AND r.id = 50 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (n + 20, 50, 1);
MERGE INTO refunds r USING unnest(ARRAY[1, 2], ARRAY[5, 6]) AS g(n, m) ON r.customer_id = g.n AND r.id = 51 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (n + 20, m, 1);
MERGE INTO orders r USING regexp_split_to_table('a,b,c', ',') WITH ORDINALITY AS s(word, n) ON r.customer_id = s.n + 5 AND r.note = word WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (customer_id, id, note) VALUES (n + 5, 70 + n, word);
-- parameters 2 | 6 | 51
MERGE INTO refunds r USING generate_series($1::int8, $2) g ON r.customer_id = g AND r.id = $3 WHEN MATCHED THEN UPDATE SET amount = $3 WHEN NOT MATCHED THEN INSERT VALUES (g, $3, 1);
-- Rows as a whole: of tables, but not of what has no type.
MERGE INTO orders r USING customers v ON r.customer_id = v.customer_id + 1 WHEN MATCHED THEN UPDATE SET note = v::text WHEN NOT MATCHED THEN INSERT (customer_id, id, note) VALUES (v.customer_id + 1, 7, v);
MERGE INTO orders r USING customers v ON r.customer_id = v.customer_id + 2 AND r.id = 7 WHEN MATCHED THEN UPDATE SET note = row_to_json(v) WHEN NOT MATCHED AND v IS NOT NULL THEN INSERT (customer_id, id, note) VALUES (v.customer_id + 2, 7, md5(v::text) || (v).name);
MERGE INTO orders r USING customers v ON r.customer_id = v.customer_id AND r.id = 7 WHEN MATCHED THEN UPDATE SET note = r::text WHEN NOT MATCHED THEN INSERT (customer_id, id, note) VALUES (v.customer_id, 7, 'n');
-- refused 0A000
MERGE INTO refunds r USING (VALUES (1, 9), (2, 9)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, length(v::text));
-- refused 0A000
MERGE INTO refunds r USING (VALUES (1, 9), (2, 9)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED AND v.* IS NOT NULL THEN INSERT VALUES (v.c, v.i, 1);
-- refused 0A000
MERGE INTO refunds r USING (VALUES (1, 9, 3), (2, 9, 4)) v ON r.customer_id = v.column1 AND r.id = v.column2 WHEN NOT MATCHED THEN INSERT VALUES (v.*);
-- refused 0A000
MERGE INTO customers r USING orders v ON r.customer_id = v.customer_id AND v.ctid IS NOT NULL WHEN NOT MATCHED THEN INSERT (customer_id) VALUES (v.customer_id + 50) WHEN MATCHED THEN DO NOTHING;
-- Sub-selects in what is inserted.
MERGE INTO refunds r USING (VALUES (1, 51), (2, 9701)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN UPDATE SET amount = 1 WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, (SELECT count(*) FROM refunds));
MERGE INTO refunds r USING (VALUES (1, 51), (2, 9702)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, (SELECT count(*) FROM refunds x WHERE x.id < v.i) + v.c);
MERGE INTO refunds r USING (VALUES (1, 9702), (2, 9702), (3, 9702)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND EXISTS (SELECT * FROM refunds x WHERE x.id = v.c) THEN INSERT VALUES (v.c, v.i, 3) WHEN NOT MATCHED THEN INSERT (id, customer_id) VALUES (v.c, (SELECT max(customer_id) FROM refunds) + v.c);
MERGE INTO refunds r USING (VALUES (1, 9702), (2, 9703)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED AND (SELECT count(*) FROM orders) > 3 THEN DELETE WHEN NOT MATCHED AND v.i > (SELECT avg(id) FROM refunds) THEN INSERT VALUES (v.c, v.i, (SELECT max(amount) FROM refunds));
MERGE INTO orders r USING (VALUES (1, 80), (2, 80)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED THEN INSERT (customer_id, id, ts, note, total) VALUES (v.c, v.i, '2026-01-01 12:00Z', (SELECT name FROM customers x WHERE x.customer_id = v.c), DEFAULT);
-- They are asked only for rows that are inserted.
MERGE INTO refunds r USING (VALUES (1, 9800, 0), (2, 9801, 2)) v(c, i, d) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED AND v.d > 0 THEN INSERT VALUES (v.c, v.i, (SELECT sum(id) FROM refunds x WHERE x.customer_id = v.c) / v.d);
MERGE INTO refunds r USING (VALUES (2, 9801, 0), (3, 9802, 2)) v(c, i, d) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, (SELECT sum(id) FROM refunds x WHERE x.customer_id = v.c) / v.d);
MERGE INTO refunds r USING (VALUES (2, 9901, 0), (3, 9902, 2)) v(c, i, d) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, (SELECT sum(id) FROM refunds x WHERE x.customer_id = v.c) / v.d);
MERGE INTO refunds r USING (VALUES (2, 9901, 0), (3, 9902, 2)) v(c, i, d) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, (SELECT id FROM refunds x));
-- WITH queries that other parts than the source name.
WITH w AS (SELECT customer_id + 1 AS k, max(id) AS m FROM orders GROUP BY 1) MERGE INTO refunds r USING w ON r.customer_id = w.k AND r.id = w.m WHEN MATCHED THEN UPDATE SET amount = (SELECT count(*) FROM w) WHEN NOT MATCHED THEN INSERT (customer_id, id) VALUES (k, m);
WITH w AS (SELECT customer_id + 1 AS k, max(id) + 100 AS m FROM orders GROUP BY 1) MERGE INTO refunds r USING w ON r.customer_id = w.k AND r.id = w.m WHEN MATCHED THEN UPDATE SET amount = 9 WHEN NOT MATCHED THEN INSERT VALUES (k, m, (SELECT sum(m) FROM w x));
WITH w AS (SELECT customer_id + 1 AS k, max(id) AS m FROM orders GROUP BY 1), z AS (SELECT max(total) AS top FROM orders, w) MERGE INTO refunds r USING w ON r.customer_id = w.k AND r.id = w.m + (SELECT count(*) FROM z) WHEN MATCHED AND EXISTS (SELECT 1 FROM w x WHERE x.k > r.customer_id) THEN UPDATE SET amount = (SELECT top FROM z) WHEN NOT MATCHED AND k IN (SELECT k + 1 FROM w) THEN INSERT VALUES (k, m, (SELECT top FROM z));
WITH w(k, m) AS (VALUES (1, 2), (3, 4)), z AS (SELECT id FROM products) MERGE INTO refunds r USING w ON r.customer_id = w.k AND r.id IN (SELECT id FROM z) WHEN MATCHED THEN UPDATE SET amount = (SELECT count(*) FROM z) WHEN NOT MATCHED THEN INSERT VALUES (k + 40, m, (SELECT count(*) FROM w));
WITH RECURSIVE w(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM w WHERE n < 5) MERGE INTO refunds r USING w ON r.customer_id = n AND r.id = n WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (n, n, (SELECT max(n) FROM w x));
-- A WITH query of the name of a table hides it; names that are used twice.
WITH orders AS (SELECT customer_id AS k, 9600 AS m FROM customers) MERGE INTO refunds r USING (orders JOIN products x ON x.id = k) ON r.customer_id = k AND r.id = m WHEN NOT MATCHED THEN INSERT VALUES (k, m, (SELECT count(*) FROM orders));
WITH r AS (SELECT customer_id AS k, 9601 AS m FROM customers) MERGE INTO refunds r USING (r s JOIN products x ON x.id = k) ON r.customer_id = k AND r.id = m WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (k, m, (SELECT count(*) FROM r x));
-- What says something else each time is asked once, or refused.
-- refused 0A000
WITH w AS (SELECT 1 + (random() * 0)::int AS k) MERGE INTO refunds r USING (VALUES (1, 9910), (2, 9910)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, (SELECT k FROM w));
WITH w AS (SELECT customer_id AS k, random() < 2 AS y FROM customers) MERGE INTO refunds r USING w ON r.customer_id = w.k AND r.id = 9911 WHEN NOT MATCHED AND (SELECT bool_and(y) FROM w x) THEN INSERT VALUES (k, 9911, 1);
-- refused 0A000
MERGE INTO refunds r USING (VALUES (1, 9912), (2, 9912)) v(c, i) ON r.customer_id = v.c AND r.id = v.i AND random() < 2 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, 3);
MERGE INTO refunds r USING (VALUES (1, 9912), (2, 9912)) v(c, i) ON r.customer_id = v.c AND r.id = v.i WHEN MATCHED AND random() < 2 THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.c, v.i, 3);
-- In a block, and back.
BEGIN;
MERGE INTO refunds r USING (customers c CROSS JOIN products) ON r.customer_id = c.customer_id + 1 AND r.id = products.id + 90 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (c.customer_id + 1, products.id + 90, (SELECT count(*) FROM refunds));
SAVEPOINT a;
MERGE INTO refunds r USING generate_series(1, 6) AS g(n) ON r.customer_id = g.n AND r.id = 50 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (n + 20, 50 / (n - 6), (SELECT count(*) FROM refunds));
ROLLBACK TO a;
MERGE INTO refunds r USING generate_series(1, 6) AS g(n) ON r.customer_id = g.n AND r.id = 50 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (n + 20, 50, (SELECT count(*) FROM refunds));
COMMIT;
