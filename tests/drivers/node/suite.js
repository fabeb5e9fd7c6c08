// node-postgres: simple and extended queries, named statements, pg-cursor, pg-copy-streams, Pool.
//
// `suite.js URL [--gateway]` prints `ok NAME` or `FAILED NAME: reason` for each test and `end` when it came to its end.
'use strict'

const assert = require('node:assert/strict')
const { randomUUID } = require('node:crypto')
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { createRequire } = require('node:module')
// The packages are installed beside the build products, not beside this file.
const load = createRequire(process.env.DRIVERS_NODE_MODULES || __filename)
const { Client, Connection, Pool, types } = load('pg')
const Cursor = load('pg-cursor')
const copy = load('pg-copy-streams')

const TEST_MS_MAX = 60000
const KEYS = Array.from({ length: 64 }, (_, n) => n + 1)
const [url, ...flags] = process.argv.slice(2)
const onGateway = flags.includes('--gateway')
const tests = []

function test(name, body) { tests.push({ name, body }) }
function refusal(name, body) { if (onGateway) test(name, body) }

// Runs work(client) on a connection that is closed afterwards.
async function connected(work, options = {}) {
  const client = new Client({ connectionString: url, ...options })
  await client.connect()
  try { return await work(client) } finally { await client.end() }
}

// Expects SQLSTATE `code` from the promise; gives the error.
async function raises(code, promise) {
  let error
  try { await promise } catch (caught) { error = caught }
  assert.ok(error, `expected SQLSTATE ${code}, got no error`)
  assert.equal(error.code, code, `${error.message}`)
  return error
}

async function orders(client) {
  await client.query('DROP TABLE IF EXISTS node_orders')
  await client.query(`CREATE TABLE node_orders (customer_id bigint NOT NULL, id uuid NOT NULL,
    status text NOT NULL DEFAULT 'new', total numeric(12,2), PRIMARY KEY (customer_id, id))`)
}

async function add(client, key, total) {
  const id = randomUUID()
  await client.query('INSERT INTO node_orders (customer_id, id, total) VALUES ($1, $2, $3)', [key, id, total])
  return id
}

async function totals(client, key) {
  const found = await client.query('SELECT total FROM node_orders WHERE customer_id = $1 ORDER BY total', [key])
  return found.rows.map(row => Number(row.total))
}

test('connect with application_name, options, client_encoding, timeouts', () => connected(async client => {
  assert.equal((await client.query('SHOW application_name')).rows[0].application_name, 'drivers-node')
  assert.equal((await client.query('SHOW timezone')).rows[0].TimeZone, 'Asia/Tokyo')
  assert.equal((await client.query('SHOW statement_timeout')).rows[0].statement_timeout, '20s')
  assert.equal((await client.query('SHOW client_encoding')).rows[0].client_encoding, 'UTF8')
  assert.equal((await client.query('SELECT $1::text AS t', ['Grüße 世界'])).rows[0].t, 'Grüße 世界')
}, { application_name: 'drivers-node', options: '-c timezone=Asia/Tokyo', statement_timeout: 20000, client_encoding: 'UTF8' }))

test('wrong password has SQLSTATE 28P01', async () => {
  const wrong = new URL(url)
  wrong.password = 'wrong'
  await raises('28P01', connected(async () => {}, { connectionString: wrong.href }))
})

test('types go in and come back, text and binary, over many keys', () => connected(async client => {
  await client.query('DROP TABLE IF EXISTS node_types')
  await client.query(`CREATE TABLE node_types (customer_id int NOT NULL, id uuid NOT NULL, i2 int2, i4 int4, i8 int8, n numeric,
    f8 float8, t text, b bytea, tstz timestamptz, d date, iv interval, jb jsonb, ia int[], ta text[], bo bool,
    PRIMARY KEY (customer_id, id))`)
  const when = new Date('2024-02-29T23:59:59.999Z')
  const values = [-32768, 2147483647, '-9223372036854775808', '-12345678901234567890.123456789', 1e-300,
    'Grüße, 世界 \\ \' " \t\n', Buffer.from(Array.from({ length: 256 }, (_, n) => n)), when, '1900-01-01', '3 days 00:00:07.5',
    { a: [1, 2.5, null, 'x'] }, [1, null, -3], ['a', null, 'q"uo,te', ''], true]
  const places = Array.from({ length: values.length + 2 }, (_, n) => `$${n + 1}`).join(', ')
  const columns = 'i2, i4, i8, n, f8, t, b, tstz, d::text AS d, iv::text AS iv, jb, ia, ta, bo'
  for (const key of KEYS.slice(0, 16)) {
    for (const row of [values, values.map(() => null)]) {
      const id = randomUUID()
      const done = await client.query(`INSERT INTO node_types VALUES (${places})`, [key, id, ...row])
      assert.equal(done.rowCount, 1)
      const text = `SELECT ${columns} FROM node_types WHERE customer_id = $1 AND id = $2`
      const found = await client.query({ text, values: [key, id], rowMode: 'array' })
      const expected = row[0] === null ? row : values
      assert.deepEqual(found.rows, [expected.map((value, n) => n === 9 && value ? '3 days 00:00:07.5' : value)])
    }
    // The driver reads binary fields as UTF-8 text first, so that only such values survive it.
    const binary = await client.query({ text: 'SELECT customer_id, t, bo FROM node_types WHERE customer_id = $1 AND i4 IS NOT NULL', values: [key], binary: true })
    assert.deepEqual({ ...binary.rows[0] }, { customer_id: key, t: values[5], bo: true })
  }
}))

test('commit, rollback, savepoint, error inside then rollback', () => connected(async client => {
  await orders(client)
  await client.query('BEGIN')
  await add(client, 5, 1)
  await client.query('SAVEPOINT a')
  await raises('22012', client.query('SELECT 1/0'))
  await raises('25P02', client.query('SELECT 1'))
  await client.query('ROLLBACK TO SAVEPOINT a')
  await add(client, 5, 2)
  await client.query('RELEASE SAVEPOINT a')
  assert.equal((await client.query('COMMIT')).command, 'COMMIT')
  assert.deepEqual(await totals(client, 5), [1, 2])
  await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE')
  await add(client, 5, 3)
  await raises('42P01', client.query('SELECT * FROM node_no_such_table'))
  assert.equal((await client.query('COMMIT')).command, 'ROLLBACK')
  assert.deepEqual(await totals(client, 5), [1, 2])
}))

test('named statements re-used over many keys', () => connected(async client => {
  await orders(client)
  for (const key of KEYS) await add(client, key, key)
  for (let round = 0; round < 3; round++) {
    for (const key of KEYS) {
      const found = await client.query({ name: 'by key', text: 'SELECT customer_id, total FROM node_orders WHERE customer_id = $1', values: [key] })
      assert.deepEqual(found.rows.map(row => ({ ...row })), [{ customer_id: String(key), total: `${key}.00` }])
      const changed = await client.query({ name: 'change', text: 'UPDATE node_orders SET status = $2 WHERE customer_id = $1', values: [key, `r${round}`] })
      assert.equal(changed.rowCount, 1)
    }
  }
}))

test('many named statements, and re-use after DDL', () => connected(async client => {
  await orders(client)
  for (let n = 1; n <= 60; n++) {
    await add(client, n, n)
    const found = await client.query({ name: `plus ${n}`, text: `SELECT (total + ${n})::int AS sum FROM node_orders WHERE customer_id = $1`, values: [n] })
    assert.equal(found.rows[0].sum, 2 * n)
  }
  await client.query("ALTER TABLE node_orders ADD COLUMN note text DEFAULT 'none'")
  for (let n = 1; n <= 60; n++) {
    const found = await client.query({ name: `plus ${n}`, text: `SELECT (total + ${n})::int AS sum FROM node_orders WHERE customer_id = $1`, values: [n] })
    assert.equal(found.rows[0].sum, 2 * n)
  }
  assert.equal((await client.query('SELECT note FROM node_orders WHERE customer_id = 1')).rows[0].note, 'none')
}))

test('queries queued without waiting, each answered in turn', () => connected(async client => {
  await orders(client)
  await Promise.all(KEYS.map(key => add(client, key, key)))
  const got = await Promise.all(KEYS.map(key => totals(client, key)))
  assert.deepEqual(got, KEYS.map(key => [key]))
  const mixed = await Promise.allSettled([client.query('SELECT 1 AS a'), client.query('SELECT 1/0'), client.query('SELECT 2 AS a')])
  assert.deepEqual(mixed.map(one => one.status), ['fulfilled', 'rejected', 'fulfilled'])
}))

test('several statements in one simple query', () => connected(async client => {
  await orders(client)
  const results = await client.query("INSERT INTO node_orders VALUES (3, gen_random_uuid(), 'a', 5); SELECT total FROM node_orders WHERE customer_id = 3; SELECT 1 AS one")
  assert.deepEqual(results.map(result => result.command), ['INSERT', 'SELECT', 'SELECT'])
  assert.equal(results[1].rows[0].total, '5.00')
  const nothing = await client.query('')
  assert.equal(nothing.rows.length, 0)
}))

test('pg-cursor reads in portions, and is closed early', () => connected(async client => {
  await orders(client)
  for (let n = 0; n < 30; n++) await add(client, 19, n)
  const cursor = client.query(new Cursor('SELECT total FROM node_orders WHERE customer_id = $1 ORDER BY total', [19]))
  const sizes = []
  for (;;) {
    const rows = await cursor.read(7)
    if (rows.length === 0) break
    sizes.push(rows.length)
  }
  assert.deepEqual(sizes, [7, 7, 7, 7, 2])
  await cursor.close()
  const early = client.query(new Cursor('SELECT total FROM node_orders WHERE customer_id = $1 ORDER BY total', [19]))
  assert.equal((await early.read(3)).length, 3)
  await early.close()
  assert.deepEqual((await client.query('SELECT 1 AS a')).rows[0].a, 1)
}))

test('pg-copy-streams: COPY in and out, rows of every shard', () => connected(async client => {
  await orders(client)
  const lines = KEYS.flatMap(key => Array.from({ length: 100 }, (_, n) => `${key}\t${randomUUID()}\tä\\tb${n}\t${n}.00\n`))
  const into = client.query(copy.from('COPY node_orders FROM STDIN'))
  await pipeline(Readable.from(lines), into)
  assert.equal(into.rowCount, lines.length)
  let text = ''
  const out = client.query(copy.to('COPY node_orders TO STDOUT'))
  for await (const chunk of out) text += chunk
  assert.deepEqual(text.split('\n').filter(Boolean).sort(), lines.map(line => line.trimEnd()).sort())
  const csv = client.query(copy.to("COPY (SELECT total FROM node_orders WHERE customer_id = 7 ORDER BY total) TO STDOUT (FORMAT csv)"))
  text = ''
  for await (const chunk of csv) text += chunk
  assert.equal(text.split('\n').filter(Boolean).length, 100)
}))

test('a failing COPY leaves nothing and a usable connection', () => connected(async client => {
  await orders(client)
  const lines = KEYS.map(key => `${key}\t${randomUUID()}\ta\t1\n`)
  const error = await raises('22P02', pipeline(Readable.from([...lines, `5\t${randomUUID()}\ta\tnot a number\n`]), client.query(copy.from('COPY node_orders FROM STDIN'))))
  assert.match(error.message, /not a number/)
  for (const key of KEYS) assert.deepEqual(await totals(client, key), [])
}))

test('COPY into a reference table and a join with it on every shard', () => connected(async client => {
  await orders(client)
  await client.query('DROP TABLE IF EXISTS node_countries')
  await client.query('CREATE TABLE node_countries (code text PRIMARY KEY, name text NOT NULL)')
  await pipeline(Readable.from(['new\tNewland\n', 'at\tAustria\n']), client.query(copy.from('COPY node_countries FROM STDIN')))
  for (const key of KEYS.slice(0, 16)) {
    await add(client, key, 1)
    const found = await client.query('SELECT c.name FROM node_orders o JOIN node_countries c ON c.code = o.status WHERE o.customer_id = $1', [key])
    assert.equal(found.rows[0].name, 'Newland')
  }
}))

test('errors keep SQLSTATE and fields; the connection is usable afterwards', () => connected(async client => {
  await orders(client)
  const id = await add(client, 13, 1)
  const error = await raises('23505', client.query("INSERT INTO node_orders VALUES ($1, $2, 'x', 1)", [13, id]))
  assert.equal(error.constraint, 'node_orders_pkey')
  assert.equal(error.table, 'node_orders')
  assert.equal(error.severity, 'ERROR')
  for (const [code, text] of [['42601', 'SELEC 1'], ['42P01', 'SELECT * FROM node_no_such_table'], ['42703', 'SELECT x FROM node_orders WHERE customer_id = 1'], ['22P02', "SELECT 'x'::int"]]) {
    await raises(code, client.query(text))
    await raises(code, client.query(text, []))
    assert.equal((await client.query('SELECT 1 AS a')).rows[0].a, 1)
  }
  await raises('22P02', client.query('SELECT $1::int', ['x']))
  await raises('08P01', client.query('SELECT $1::int, $2::int', ['1']))
  assert.equal((await client.query('SELECT 1 AS a')).rows[0].a, 1)
}))

test('cancel of a running statement', () => connected(async client => {
  await orders(client)
  await add(client, 17, 1)
  for (const text of ['SELECT pg_sleep(50)', 'SELECT pg_sleep(50) FROM node_orders WHERE customer_id = 17']) {
    const { port, hostname } = new URL(url)
    const running = client.query(text)
    // Again and again: nobody tells when the statement has begun.
    const timer = setInterval(() => {
      const canceller = new Connection({})
      canceller.on('connect', () => canceller.cancel(client.processID, client.secretKey))
      canceller.on('error', () => {})
      canceller.connect(Number(port), hostname)
    }, 500)
    running.catch(() => {}).finally(() => clearInterval(timer))
    await raises('57014', running)
    assert.equal((await client.query('SELECT 1 AS a')).rows[0].a, 1)
  }
}))

test('notices and parameter changes arrive', () => connected(async client => {
  const notices = []
  client.on('notice', notice => notices.push(notice.message))
  await client.query('DROP TABLE IF EXISTS node_never_there')
  assert.deepEqual(notices, ['table "node_never_there" does not exist, skipping'])
}))

test('Pool: many workers, nothing lost', async () => {
  await connected(orders)
  const pool = new Pool({ connectionString: url, max: 5 })
  try {
    await Promise.all(KEYS.map(async key => {
      const client = await pool.connect()
      try {
        await client.query('BEGIN')
        for (let n = 0; n < 4; n++) await add(client, key, n)
        await client.query('COMMIT')
      } finally { client.release() }
      assert.deepEqual(await totals(pool, key), [0, 1, 2, 3])
    }))
  } finally { await pool.end() }
})

test('SELECT without key returns the rows of all shards', () => connected(async client => {
  await orders(client)
  for (const key of KEYS) await add(client, key, key)
  const all = await client.query('SELECT customer_id::int AS k FROM node_orders WHERE total < $1', [33])
  assert.deepEqual(all.rows.map(row => row.k).sort((a, b) => a - b), KEYS.filter(key => key < 33))
  const some = await client.query('SELECT customer_id::int AS k FROM node_orders WHERE customer_id = ANY($1)', [[1, 20, 40, 64]])
  assert.deepEqual(some.rows.map(row => row.k).sort((a, b) => a - b), [1, 20, 40, 64])
}))

test('dropping what the suite made', () => connected(async client => {
  for (const table of ['orders', 'types', 'countries']) await client.query(`DROP TABLE IF EXISTS node_${table}`)
  assert.equal((await client.query("SELECT 1 FROM pg_tables WHERE tablename LIKE 'node\\_%'")).rowCount, 0)
}))

refusal('all shards: aggregates, order, transactions; what is refused', () => connected(async client => {
  await orders(client)
  for (const key of KEYS) await add(client, key, key)
  const both = async text => {
    const rows = (await client.query({ text, rowMode: 'array' })).rows
    assert.deepEqual((await client.query({ text, values: [], name: text, rowMode: 'array' })).rows, rows)
    return rows.flat()
  }
  assert.deepEqual(await both('SELECT count(*)::int FROM node_orders'), [KEYS.length])
  assert.deepEqual((await both('SELECT total FROM node_orders ORDER BY total')).map(Number), KEYS)
  for (const [end, expected] of [['ROLLBACK', key => [key]], ['COMMIT', key => [1, key]]]) {
    await client.query('BEGIN')
    for (const key of KEYS) await add(client, key, 1)
    await client.query(end)
    for (const key of KEYS) assert.deepEqual((await totals(client, key)).map(Number).sort((a, b) => a - b), expected(key))
  }
  assert.equal((await client.query('DELETE FROM node_orders')).rowCount, 2 * KEYS.length)
  for (const text of ['SELECT ctid FROM node_orders', 'SELECT * FROM node_orders TABLESAMPLE SYSTEM (10) REPEATABLE (1)']) {
    await raises('0A000', client.query(text))
    await raises('0A000', client.query({ text, values: [], name: text }))
  }
  await client.query('DROP TABLE node_orders')
}))

async function main() {
  types.setTypeParser(1082, value => value)
  for (const { name, body } of tests) {
    let timer
    const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not done after ${TEST_MS_MAX} ms`)), TEST_MS_MAX) })
    try {
      await Promise.race([body(), late])
      console.log(`ok ${name}`)
    } catch (error) {
      console.log(`FAILED ${name}: ${String(error.message || error).split(/\s+/).join(' ').slice(0, 800)}`)
      if (process.env.DRIVERS_TRACE) console.error(error)
    } finally { clearTimeout(timer) }
  }
  console.log('end')
  process.exit(0)
}

main()
