-- Functions and procedures that read and write tables, where all of it is one shard's.
CREATE PROCEDURE place(p_customer int8, p_id int8, p_status text DEFAULT 'new') LANGUAGE plpgsql AS $$ BEGIN INSERT INTO orders (customer_id, id, status) VALUES (p_customer, p_id, p_status); UPDATE customers SET vip = true WHERE customer_id = p_customer; END $$;
CALL place(3, 1001);
CALL place(4, 1002, 'open');
CALL place('5', 1003, upper('x'));
CALL place(p_id => 1004, p_customer => 6);
-- parameters 7 | 1005
CALL place($1, $2, 'x');
-- parameters null | 1005
-- refused 23502
CALL place($1, $2, 'x');
CALL place(3, 1001);
CALL place(3);
CALL place();
CALL no_such(3, 1001);
-- refused 0A000
CALL place(3 + 1, 1006);
-- refused 0A000
CALL place((SELECT max(customer_id) FROM customers), 1006);
SELECT * FROM orders WHERE id > 1000;
BEGIN;
CALL place(3, 1010);
CALL place(4, 1010);
SELECT customer_id FROM orders WHERE id = 1010;
ROLLBACK;
BEGIN;
CALL place(3, 1011);
CALL place(4, 1011);
COMMIT;
SELECT customer_id, status FROM orders WHERE id = 1011;
-- OUT and INOUT answer a row.
CREATE PROCEDURE counted(p_customer int8, INOUT n int8 DEFAULT NULL, OUT most numeric) LANGUAGE plpgsql AS $$ BEGIN SELECT count(*) + coalesce(n, 0), max(total) INTO n, most FROM orders WHERE customer_id = p_customer; END $$;
CALL counted(3, 1, NULL);
CALL counted(3, most => NULL);
-- parameters 3
CALL counted($1, 5, NULL);
-- COMMIT in a procedure, outside of a block and in one.
CREATE PROCEDURE two_steps(p int8) LANGUAGE plpgsql AS $$ BEGIN UPDATE orders SET note = 'first' WHERE customer_id = p; COMMIT; UPDATE orders SET note = 'second' WHERE customer_id = p; ROLLBACK; END $$;
CALL two_steps(3);
SELECT DISTINCT note FROM orders WHERE customer_id = 3;
-- parameters 5
CALL two_steps($1);
SELECT DISTINCT note FROM orders WHERE customer_id = 5;
BEGIN;
CALL two_steps(4);
ROLLBACK;
SELECT 1; CALL two_steps(4);
-- Transfers between keys of one shard, of several.
CREATE PROCEDURE transfer(a int8, b int8, amount numeric) LANGUAGE plpgsql AS $$ DECLARE n int; BEGIN UPDATE refunds SET amount = refunds.amount - transfer.amount WHERE customer_id = a; GET DIAGNOSTICS n = ROW_COUNT; IF n = 0 THEN RAISE EXCEPTION 'nobody called %', a USING ERRCODE = 'P0002', HINT = 'look again'; END IF; UPDATE refunds SET amount = refunds.amount + transfer.amount WHERE customer_id = b; END $$;
CALL transfer(3, 3, 1);
CALL transfer(123456, 123456, 1);
-- refused 0A000
CALL transfer(1, 2, 1);
-- Bodies in SQL.
CREATE FUNCTION total_of(int8) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT sum(total) FROM orders WHERE customer_id = $1';
SELECT total_of(3);
SELECT total_of(3), total_of(3) + 1 AS more;
-- parameters 4
SELECT total_of($1);
-- refused 0A000
SELECT total_of(1), total_of(2), total_of(3), total_of(4), total_of(5);
-- refused 0A000
SELECT customer_id, total_of(customer_id) FROM customers;
-- refused 0A000
SELECT total_of(NULL::int8);
CREATE FUNCTION orders_of(p int8) RETURNS TABLE(customer_id int8, id int8, total numeric) LANGUAGE sql STABLE BEGIN ATOMIC SELECT o.customer_id, o.id, o.total FROM orders o WHERE o.customer_id = p; END;
SELECT * FROM orders_of(3);
SELECT count(*), sum(x.total) FROM orders_of(3) AS x WHERE x.id > 5;
SELECT * FROM orders_of(3) x JOIN customers c ON c.customer_id = x.customer_id AND c.customer_id = 3;
SELECT x.id, c.name FROM orders_of(3) x CROSS JOIN countries c;
SELECT total_of FROM total_of(3);
EXPLAIN (COSTS OFF, ANALYZE, TIMING OFF, SUMMARY OFF) SELECT total_of(3);
PREPARE by_customer (int8) AS SELECT total_of($1);
EXECUTE by_customer (3);
EXECUTE by_customer (4);
DEALLOCATE by_customer;
COPY (SELECT * FROM orders_of(3) ORDER BY id) TO STDOUT;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM orders_of(3) ORDER BY id;
FETCH 2 FROM c;
FETCH ALL FROM c;
COMMIT;
CREATE FUNCTION add_order(customer_id int8, id int8) RETURNS int8 LANGUAGE plpgsql AS $$ BEGIN INSERT INTO orders (customer_id, id) VALUES (customer_id, id); RETURN id; EXCEPTION WHEN unique_violation THEN RAISE NOTICE 'there'; RETURN -1; END $$;
SELECT add_order(3, 2001), add_order(3, 2002) AS b;
SELECT add_order(4, 2001);
UPDATE customers SET credit = add_order(5, 2001) WHERE customer_id = 5;
-- refused 0A000
UPDATE customers SET credit = add_order(1, 2002) WHERE customer_id = 2;
-- refused 0A000
UPDATE customers SET credit = add_order(5, 2002);
INSERT INTO orders (customer_id, id) VALUES (6, add_order(6, 2001) + 1);
WITH x AS (SELECT add_order(7, 2001) AS id) UPDATE orders SET note = 'x' FROM x WHERE orders.customer_id = 7 AND orders.id = x.id RETURNING orders.id, note;
SELECT customer_id, id FROM orders WHERE id > 2000;
-- Calls within calls, loops, variables.
CREATE PROCEDURE close_all(p int8, INOUT n int DEFAULT 0) LANGUAGE plpgsql AS $$ DECLARE r record; v_status text := 'closed'; BEGIN FOR r IN SELECT o.id FROM orders o WHERE o.customer_id = p ORDER BY o.id LOOP CONTINUE WHEN r.id > 5; UPDATE orders SET status = v_status WHERE customer_id = p AND id = r.id; n := n + 1; END LOOP; FOR i IN 1..2 LOOP CALL place(p, 3000 + i); PERFORM add_order(p, 3000 + i); END LOOP; END $$;
CALL close_all(3);
CALL close_all(3, 10);
CALL close_all(4);
SELECT customer_id, id, status FROM orders WHERE customer_id IN (3, 4);
-- What is not one shard's, and what cannot be read.
CREATE PROCEDURE all_of_them() LANGUAGE sql AS 'DELETE FROM refunds';
-- refused 0A000
CALL all_of_them();
CREATE PROCEDURE next_one(p int8) LANGUAGE plpgsql AS $$ BEGIN p := p + 1; DELETE FROM refunds WHERE customer_id = p; END $$;
-- refused 0A000
CALL next_one(3);
CREATE PROCEDURE hidden(p int8) LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DELETE FROM refunds WHERE customer_id = ' || p + 1; END $$;
-- refused 0A000
CALL hidden(3);
CREATE FUNCTION shadow(customer_id int8) RETURNS int8 LANGUAGE sql AS 'SELECT count(*) FROM orders WHERE customer_id = customer_id';
-- refused 0A000
SELECT shadow(3);
CREATE PROCEDURE declared_again(p int8) LANGUAGE plpgsql AS $$ DECLARE q int8 := p; BEGIN DECLARE p int8 := 4; BEGIN DELETE FROM refunds WHERE customer_id = p; END; END $$;
-- refused 0A000
CALL declared_again(3);
CREATE PROCEDURE products_up() LANGUAGE sql AS 'UPDATE products SET price = price + 1';
-- refused 0A000
CALL products_up();
CREATE PROCEDURE set_it() LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '1MB'; END $$;
-- refused 0A000
CALL set_it();
CREATE PROCEDURE as_owner(p int8) LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM refunds WHERE customer_id = p';
-- refused 0A000
CALL as_owner(3);
CREATE PROCEDURE elsewhere(p int8) LANGUAGE sql SET search_path = archive AS 'INSERT INTO orders (customer_id, id, year) VALUES (p, 1, 2026)';
CALL elsewhere(3);
SELECT * FROM archive.orders;
-- Home tables and reference tables.
CREATE PROCEDURE note_setting(k text, v text) LANGUAGE sql AS 'INSERT INTO settings VALUES (k, v)';
CALL note_setting('a', 'b');
SELECT * FROM settings;
CREATE FUNCTION price_of(p int4) RETURNS numeric STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT price FROM products WHERE id = p); END $$;
SELECT price_of(2);
SELECT id, price_of(2) FROM orders WHERE customer_id = 3;
-- Definitions that change are read again.
CREATE OR REPLACE PROCEDURE place(p_customer int8, p_id int8, p_status text DEFAULT 'new') LANGUAGE sql AS 'DELETE FROM refunds';
-- refused 0A000
CALL place(3, 1001);
BEGIN;
CREATE OR REPLACE PROCEDURE place(p_customer int8, p_id int8, p_status text DEFAULT 'new') LANGUAGE sql AS 'DELETE FROM refunds WHERE customer_id = p_customer';
CALL place(3, 1001);
SELECT count(*) FROM refunds WHERE customer_id = 3;
ROLLBACK;
DROP PROCEDURE place(int8, int8, text), counted(int8, int8, numeric), two_steps(int8), transfer(int8, int8, numeric), close_all(int8, int), all_of_them(), next_one(int8), hidden(int8), declared_again(int8), products_up(), set_it(), as_owner(int8), elsewhere(int8), note_setting(text, text);
DROP FUNCTION total_of(int8), orders_of(int8), add_order(int8, int8), shadow(int8), price_of(int4);
-- DO with variables and loops.
DO $$ DECLARE n int; BEGIN SELECT count(*) INTO n FROM orders WHERE customer_id = 3; IF n > 0 THEN UPDATE customers SET credit = n WHERE customer_id = 3; END IF; END $$;
SELECT credit FROM customers WHERE customer_id = 3;
-- refused 0A000
DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM customers LOOP DELETE FROM orders WHERE customer_id = r.customer_id; END LOOP; END $$;
DO $$ DECLARE i int; BEGIN FOR i IN 1..3 LOOP INSERT INTO settings VALUES ('k' || i, i); END LOOP; END $$;
SELECT * FROM settings;
