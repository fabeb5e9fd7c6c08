-- ALTER TABLE of a reference table: what each shard would read from its rows' texts, or number for itself.
ALTER TABLE countries ADD COLUMN at text, ADD COLUMN n text;
UPDATE countries SET at = 'now', n = '7';
-- refused 0A000
ALTER TABLE countries ALTER COLUMN at TYPE timestamptz USING at::timestamptz;
-- refused 0A000
ALTER TABLE countries ALTER COLUMN at TYPE timestamptz USING (at || '')::timestamptz;
-- refused 0A000
ALTER TABLE countries ALTER COLUMN n TYPE text USING tableoid::text;
-- refused 0A000
ALTER TABLE countries ALTER COLUMN n TYPE text USING xmin::text;
-- refused 0A000
ALTER TABLE countries ADD COLUMN o oid DEFAULT 'countries'::regclass::oid;
-- refused 0A000
ALTER TABLE countries ADD COLUMN made text DEFAULT ('now'::timestamptz)::text;
UPDATE countries SET at = '2020-01-01';
ALTER TABLE countries ALTER COLUMN at TYPE timestamptz USING to_timestamp(at, 'YYYY-MM-DD');
ALTER TABLE countries ALTER COLUMN at TYPE date USING at::date;
ALTER TABLE countries ALTER COLUMN n TYPE int8 USING n::int8 + 1;
ALTER TABLE countries ADD COLUMN made text DEFAULT 'buy now', ADD COLUMN k text DEFAULT ('2020-01-01'::date)::text;
-- Each row of a sharded table is on one shard only.
ALTER TABLE orders ALTER COLUMN note TYPE date USING '2020-01-01'::text::date;
SELECT * FROM countries;
