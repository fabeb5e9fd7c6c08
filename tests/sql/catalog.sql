-- The catalog looks as on one Postgres. OIDs are left out: they differ from server to server.
-- ordered
SELECT relname, relkind, relnatts FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname;
-- ordered
SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 ORDER BY attnum;
-- ordered
SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema', 'pgbraid') ORDER BY 1, 2;
-- ordered
SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns WHERE table_name = 'customers' ORDER BY ordinal_position;
-- ordered
SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass ORDER BY 1;
-- ordered
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1;
-- ordered
SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1;
SELECT typname, typlen FROM pg_type WHERE typname IN ('int4', 'text', 'uuid');
SELECT to_regclass('orders')::text, to_regclass('nowhere')::text, 'archive.orders'::regclass::text;
SELECT pg_get_viewdef('big_orders'::regclass);
SELECT obj_description('orders'::regclass, 'pg_class');
SELECT has_table_privilege('orders', 'SELECT');
-- ordered
SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|pgbraid|^information' ORDER BY 1;
SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database();
SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user;
SELECT name, setting FROM pg_settings WHERE name IN ('server_encoding', 'integer_datetimes', 'standard_conforming_strings');
SELECT count(*) > 0 FROM pg_stat_activity;
SELECT kcu.column_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu USING (constraint_name, table_name) WHERE tc.table_name = 'orders' AND tc.constraint_type = 'PRIMARY KEY';
SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = 'orders'::regclass AND i.indisprimary;
