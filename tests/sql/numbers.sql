-- currval and lastval: in the transaction that has drawn.
CREATE TABLE tickets (customer_id int8, id bigserial, small serial, x int, PRIMARY KEY (customer_id, id));
CREATE TABLE notes (id serial PRIMARY KEY, ticket int8, text text);
CREATE SEQUENCE numbers START 100;
-- The first that asks is refused: servers had not forgotten what they drew for others.
BEGIN;
INSERT INTO tickets (customer_id, x) VALUES (3, 1);
-- refused 0A000
UPDATE notes SET ticket = lastval();
ROLLBACK;
TRUNCATE notes RESTART IDENTITY;
BEGIN;
INSERT INTO tickets (customer_id, x) VALUES (3, 2);
SELECT customer_id, x FROM tickets WHERE id = currval('tickets_id_seq');
SELECT customer_id, x FROM tickets WHERE small = lastval() AND customer_id = 3;
SELECT currval('tickets_small_seq') = lastval();
SELECT currval('tickets_small_seq') = currval(pg_get_serial_sequence('tickets', 'small')) AS same, lastval() > 0;
INSERT INTO notes (ticket, text) VALUES (currval('public.tickets_id_seq'), 'of the ticket');
SELECT n.text, t.x FROM notes n JOIN tickets t ON t.id = n.ticket;
SELECT currval('notes_id_seq'), currval('notes_id_seq')::int AS id, pg_catalog.currval('notes_id_seq'::regclass);
UPDATE tickets SET x = 9 WHERE customer_id = 3 AND id = currval('tickets_id_seq') RETURNING x;
COMMIT;
SELECT customer_id, x FROM tickets;
-- Numbers of a home table, and drawn by nextval.
BEGIN;
INSERT INTO notes (text) VALUES ('a'), ('b');
SELECT lastval();
SELECT nextval('numbers');
SELECT lastval(), currval('numbers') AS n;
SELECT nextval('numbers'), nextval('numbers');
SELECT currval('numbers');
SELECT setval('numbers', 500);
SELECT currval('numbers');
SAVEPOINT s;
SELECT nextval('numbers');
ROLLBACK TO s;
SELECT currval('numbers');
SELECT currval('numbers') + 1 AS next, currval('numbers')::text;
SELECT currval('no_such');
ROLLBACK;
-- Several statements of one message.
INSERT INTO notes (text) VALUES ('c'); SELECT lastval();
BEGIN; INSERT INTO notes (text) VALUES ('d'); SELECT currval('notes_id_seq'); COMMIT;
-- By the extended protocol.
BEGIN;
-- parameters 5 | 7
INSERT INTO tickets (customer_id, x) VALUES ($1, $2);
-- parameters 5
SELECT x FROM tickets WHERE customer_id = $1 AND id = currval('tickets_id_seq');
-- parameters 4
INSERT INTO notes (ticket, text) VALUES (currval('tickets_id_seq'), $1);
SELECT text FROM notes WHERE id = currval('notes_id_seq');
COMMIT;
BEGIN;
INSERT INTO notes (ticket) SELECT id FROM tickets WHERE customer_id = 5;
-- parameters 1
-- refused 0A000
UPDATE notes SET text = $1 FROM tickets t WHERE t.id = notes.ticket AND notes.id = currval('notes_id_seq');
ROLLBACK;
-- REPEATABLE READ.
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO tickets (customer_id, x) VALUES (6, 8);
SELECT customer_id, x FROM tickets WHERE id = currval('tickets_id_seq');
COMMIT;
-- What another transaction has drawn is not known, though a server may remember it.
-- refused 0A000
SELECT lastval();
BEGIN;
SELECT count(*) FROM tickets WHERE customer_id = 6;
-- refused 0A000
UPDATE notes SET ticket = currval('tickets_id_seq');
ROLLBACK;
BEGIN;
INSERT INTO tickets (customer_id, id, small, x) VALUES (6, 1000000, 1000000, 8);
-- refused 0A000
UPDATE notes SET ticket = lastval();
ROLLBACK;
-- Nor what several shards have drawn.
BEGIN;
INSERT INTO tickets (customer_id, x) VALUES (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1);
-- refused 0A000
UPDATE notes SET ticket = currval('tickets_id_seq');
ROLLBACK;
BEGIN;
INSERT INTO tickets (customer_id, x) VALUES (6, 8);
INSERT INTO tickets (customer_id, x) SELECT customer_id, 1 FROM customers;
-- refused 0A000
UPDATE notes SET ticket = currval('tickets_id_seq');
ROLLBACK;
BEGIN;
INSERT INTO notes (text) VALUES ('e');
DISCARD SEQUENCES;
-- refused 0A000
UPDATE notes SET ticket = lastval();
ROLLBACK;
BEGIN;
INSERT INTO notes (text) VALUES ('f');
-- refused 0A000
UPDATE notes SET ticket = currval(text);
ROLLBACK;
BEGIN;
INSERT INTO notes (text) VALUES ('g');
-- refused 0A000
INSERT INTO notes (text) VALUES ('h') RETURNING lastval();
ROLLBACK;
-- Nor what the statement itself may draw.
BEGIN;
INSERT INTO notes (text) VALUES ('i');
-- refused 0A000
INSERT INTO notes (ticket) VALUES (currval('notes_id_seq'));
ROLLBACK;
BEGIN;
INSERT INTO notes (text) VALUES ('i');
-- refused 0A000
INSERT INTO notes (ticket) VALUES (lastval());
ROLLBACK;
BEGIN;
INSERT INTO notes (text) VALUES ('j');
-- refused 0A000
UPDATE notes SET ticket = currval('notes_id_seq'), id = nextval('notes_id_seq');
ROLLBACK;
BEGIN;
INSERT INTO notes (text) VALUES ('k');
INSERT INTO settings VALUES (lastval(), 'k'), (currval('notes_id_seq')::text || '!', 'k');
SELECT * FROM settings WHERE value = 'k';
ROLLBACK;
DROP TABLE tickets, notes;
DROP SEQUENCE numbers;
