"""asyncpg: binary protocol only, everything prepared, statements cached by connection, a pool with its own reset query."""

import asyncio
import datetime as dt
import json
import uuid
from decimal import Decimal

import asyncpg

from suite import equal, program, raises, refusal, test, true

KEYS = list(range(1, 65))


class session:
    """`async with session(url) as conn`: a connection, closed at the end."""

    def __init__(self, url, **options):
        self.url, self.options = url, options

    async def __aenter__(self):
        self.conn = await asyncpg.connect(self.url, **self.options)
        return self.conn

    async def __aexit__(self, *_):
        await self.conn.close(timeout=5)


async def orders(conn):
    """An empty orders table."""
    await conn.execute("DROP TABLE IF EXISTS asyncpg_orders")
    await conn.execute(
        "CREATE TABLE asyncpg_orders (customer_id bigint NOT NULL, id uuid NOT NULL, status text NOT NULL DEFAULT 'new',"
        " total numeric(12,2), PRIMARY KEY (customer_id, id))"
    )


async def add(conn, key, total):
    """One order; its id."""
    order = uuid.uuid4()
    await conn.execute("INSERT INTO asyncpg_orders (customer_id, id, total) VALUES ($1, $2, $3)", key, order, Decimal(total))
    return order


async def totals(conn, key):
    """A customer's totals, in order."""
    rows = await conn.fetch("SELECT total FROM asyncpg_orders WHERE customer_id = $1 ORDER BY total", key)
    return [row["total"] for row in rows]


@test("connect with server_settings")
async def _(url):
    settings = {"application_name": "drivers-asyncpg", "timezone": "Asia/Tokyo", "statement_timeout": "20s", "search_path": "public"}
    async with session(url, server_settings=settings) as conn:
        for name, value in settings.items():
            equal((await conn.fetchval("SELECT current_setting($1)", name)), value, name)
        equal(conn.get_settings().client_encoding, "UTF8")
        equal(conn.get_settings().TimeZone, "Asia/Tokyo")
        true(conn.get_server_version().major >= 13, "server version")


@test("wrong password has SQLSTATE 28P01, unknown database 3D000")
async def _(url):
    with raises("28P01"):
        await asyncpg.connect(url, password="wrong")
    with raises("3D000"):
        await asyncpg.connect(url, database="nowhere")


@test("types go in and come back, over many keys")
async def _(url):
    async with session(url) as conn:
        await conn.execute("DROP TABLE IF EXISTS asyncpg_types")
        await conn.execute(
            "CREATE TABLE asyncpg_types (customer_id int NOT NULL, id uuid NOT NULL, i2 int2, i4 int4, i8 int8, n numeric, f4 float4,"
            " f8 float8, t text, vc varchar(40), ch char(8), b bytea, u uuid, tstz timestamptz, ts timestamp, d date, tm time, iv interval,"
            " jb jsonb, ia int[], ta text[], na numeric[], r int4range, i inet, bits varbit, bo bool, PRIMARY KEY (customer_id, id))"
        )
        values = (
            -32768, 2147483647, -(2**63), Decimal("-12345678901234567890.123456789"), 0.5, 1e-300, "Grüße, 世界 \\ ' \" \t\n",
            "short", "padded  ", bytes(range(256)), uuid.UUID(int=2**128 - 1),
            dt.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=dt.timezone.utc), dt.datetime(1999, 12, 31, 1, 2, 3),
            dt.date(1900, 1, 1), dt.time(23, 59, 59, 1), dt.timedelta(days=40, seconds=7, microseconds=5),
            json.dumps({"a": [1, 2.5, None, "x"]}), [1, None, -3], ["a", None, 'q"uo,te', ""], [Decimal("1.50"), Decimal("-0.001")],
            asyncpg.Range(1, 10), __import__("ipaddress").ip_address("10.1.2.3"), asyncpg.BitString("10110"), True,
        )
        places = ", ".join(f"${n + 1}" for n in range(2 + len(values)))
        for key in KEYS[:24]:
            for row in (values, (None,) * len(values)):
                order = uuid.uuid4()
                done = await conn.execute(f"INSERT INTO asyncpg_types VALUES ({places})", key, order, *row)
                equal(done, "INSERT 0 1")
                got = await conn.fetchrow("SELECT * FROM asyncpg_types WHERE customer_id = $1 AND id = $2", key, order)
                equal(tuple(got), (key, order) + row)


@test("keys of type text, varchar and uuid")
async def _(url):
    async with session(url) as conn:
        for name, kind, keys in (
            ("text", "text", [f"ключ-{n}" for n in KEYS]),
            ("varchar", "varchar(30)", [f"k{n}" for n in KEYS]),
            ("uuid", "uuid", [uuid.uuid4() for _ in KEYS]),
        ):
            await conn.execute(f"DROP TABLE IF EXISTS asyncpg_by_{name}")
            await conn.execute(f"CREATE TABLE asyncpg_by_{name} (customer_id {kind} PRIMARY KEY, n int NOT NULL)")
            for n, key in enumerate(keys):
                await conn.execute(f"INSERT INTO asyncpg_by_{name} VALUES ($1, $2)", key, n)
            for n, key in enumerate(keys):
                equal(await conn.fetchval(f"SELECT n FROM asyncpg_by_{name} WHERE customer_id = $1", key), n)
            equal(sorted(row["n"] for row in await conn.fetch(f"SELECT n FROM asyncpg_by_{name}")), list(range(len(KEYS))))


@test("commit, rollback and savepoints")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        async with conn.transaction():
            await add(conn, 5, 1)
            try:
                async with conn.transaction():
                    await add(conn, 5, 2)
                    await conn.execute("SELECT 1/0")
            except asyncpg.DivisionByZeroError:
                pass
            async with conn.transaction():
                await add(conn, 5, 3)
        equal(await totals(conn, 5), [1, 3])
        transaction = conn.transaction(isolation="serializable", readonly=True)
        await transaction.start()
        with raises("25006"):
            await add(conn, 5, 4)
        with raises("25P02"):
            await conn.fetchval("SELECT 1")
        await transaction.rollback()
        equal(await totals(conn, 5), [1, 3])
        true(not conn.is_in_transaction(), "out of the transaction")


@test("transactions that read many keys and write one")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        for key in KEYS:
            await add(conn, key, key)
        async with conn.transaction():
            for key in KEYS[:16]:
                equal(await totals(conn, key), [key])
            await add(conn, 3, 1000)
        equal(await totals(conn, 3), [3, 1000])


@test("prepared statements re-used over many keys")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        for key in KEYS:
            await add(conn, key, key)
        by_key = await conn.prepare("SELECT customer_id, total FROM asyncpg_orders WHERE customer_id = $1")
        equal([kind.name for kind in by_key.get_parameters()], ["int8"])
        equal([(a.name, a.type.name) for a in by_key.get_attributes()], [("customer_id", "int8"), ("total", "numeric")])
        change = await conn.prepare("UPDATE asyncpg_orders SET total = total + $2 WHERE customer_id = $1 RETURNING total")
        for round_ in range(1, 4):
            for key in KEYS:
                equal(tuple(await by_key.fetchrow(key)), (key, key + round_ - 1))
                equal(await change.fetchval(key, Decimal(1)), key + round_)
        equal(len(await by_key.fetch(1)), 1)
        equal(by_key.get_statusmsg(), "SELECT 1")


@test("more statements than the driver caches, and no cache at all")
async def _(url):
    async with session(url, statement_cache_size=5) as conn:
        await orders(conn)
        for n in range(60):
            await add(conn, n, n)
            equal(await conn.fetchval(f"SELECT total + {n} FROM asyncpg_orders WHERE customer_id = $1", n), 2 * n)
    async with session(url, statement_cache_size=0) as conn:
        for n in range(60):
            equal(await totals(conn, n), [n])


@test("prepared statements after DDL")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        for key in KEYS[:8]:
            await add(conn, key, key)
            equal(await totals(conn, key), [key])
        await conn.execute("ALTER TABLE asyncpg_orders ADD COLUMN note text DEFAULT 'none'")
        for key in KEYS[:8]:
            equal(await totals(conn, key), [key])
        equal(await conn.fetchval("SELECT note FROM asyncpg_orders WHERE customer_id = 1"), "none")
        await orders(conn)
        for key in KEYS[:8]:
            equal(await totals(conn, key), [])


@test("executemany of one key is one transaction")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        statement = "INSERT INTO asyncpg_orders (customer_id, id, total) VALUES ($1, $2, $3)"
        await conn.executemany(statement, [(9, uuid.uuid4(), Decimal(n)) for n in range(500)])
        equal(await totals(conn, 9), list(range(500)))
        same = uuid.uuid4()
        with raises("23505"):
            await conn.executemany(statement, [(10, uuid.uuid4(), Decimal(1)), (10, same, Decimal(1)), (10, same, Decimal(1))])
        equal(await totals(conn, 10), [])
        got = await conn.fetchmany(
            "UPDATE asyncpg_orders SET status = $2 WHERE customer_id = 9 AND total = $1 RETURNING status",
            [(Decimal(n), f"s{n}") for n in range(5)],
        )
        equal([row[0] for row in got], ["s0", "s1", "s2", "s3", "s4"])


@test("cursors inside a transaction: iteration with prefetch, fetch, forward")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        statement = "INSERT INTO asyncpg_orders (customer_id, id, total) VALUES ($1, $2, $3)"
        await conn.executemany(statement, [(19, uuid.uuid4(), Decimal(n)) for n in range(100)])
        query = "SELECT total FROM asyncpg_orders WHERE customer_id = $1 ORDER BY total"
        async with conn.transaction():
            got = [row[0] async for row in conn.cursor(query, 19, prefetch=7)]
            equal(got, list(range(100)))
            cursor = await conn.cursor(query, 19)
            equal([row[0] for row in await cursor.fetch(3)], [0, 1, 2])
            await cursor.forward(10)
            equal((await cursor.fetchrow())[0], 13)


@test("COPY in and out: records in binary, CSV from a file, a query")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        rows = [(key, uuid.uuid4(), "new", Decimal(n)) for key in KEYS for n in range(50)]
        done = await conn.copy_records_to_table("asyncpg_orders", records=rows, columns=["customer_id", "id", "status", "total"])
        equal(done, f"COPY {len(rows)}")
        for key in KEYS:
            equal(await totals(conn, key), list(range(50)))
        lines = bytearray()

        async def keep(data):
            lines.extend(data)

        await conn.copy_from_table("asyncpg_orders", columns=["customer_id", "id"], output=keep, format="csv", header=True)
        got = sorted(bytes(lines).decode().splitlines()[1:])
        equal(got, sorted(f"{row[0]},{row[1]}" for row in rows))
        await orders(conn)

        async def chunks():
            text = bytes(lines)
            for start in range(0, len(text), 1000):
                yield text[start : start + 1000]

        done = await conn.copy_to_table("asyncpg_orders", source=chunks(), columns=["customer_id", "id"], format="csv", header=True)
        equal(done, f"COPY {len(rows)}")
        lines.clear()
        await conn.copy_from_query("SELECT id::text FROM asyncpg_orders WHERE customer_id = $1", 7, output=keep)
        equal(sorted(bytes(lines).decode().split()), sorted(str(row[1]) for row in rows if row[0] == 7))


@test("a failing COPY leaves nothing and a usable connection")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        same = uuid.uuid4()
        rows = [(key, uuid.uuid4()) for key in KEYS] + [(1, same), (1, same)]
        with raises("23505"):
            await conn.copy_records_to_table("asyncpg_orders", records=rows, columns=["customer_id", "id"])
        for key in KEYS:
            equal(await totals(conn, key), [])


@test("COPY into a reference table and a join with it on every shard")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        await conn.execute("DROP TABLE IF EXISTS asyncpg_countries")
        await conn.execute("CREATE TABLE asyncpg_countries (code text PRIMARY KEY, name text NOT NULL)")
        await conn.copy_records_to_table("asyncpg_countries", records=[("new", "Newland"), ("at", "Austria")])
        for key in KEYS[:16]:
            await add(conn, key, 1)
            query = "SELECT c.name FROM asyncpg_orders o JOIN asyncpg_countries c ON c.code = o.status WHERE o.customer_id = $1"
            equal(await conn.fetchval(query, key), "Newland")


@test("errors keep SQLSTATE and details; the connection is usable afterwards")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        order = await add(conn, 13, 1)
        with raises("23505") as caught:
            await conn.execute("INSERT INTO asyncpg_orders VALUES ($1, $2, 'x', 1)", 13, order)
        equal(caught.error.constraint_name, "asyncpg_orders_pkey")
        for state, statement in (
            ("42601", "SELEC 1"),
            ("42P01", "SELECT * FROM asyncpg_no_such_table"),
            ("42703", "SELECT nothing FROM asyncpg_orders WHERE customer_id = 1"),
            ("22012", "SELECT 1/0"),
            ("42P18", "SELECT $1"),
        ):
            if state == "42P18":
                equal(await conn.fetchval(statement, "text it is"), "text it is")
                continue
            with raises(state):
                await conn.fetch(statement)
            equal(await conn.fetchval("SELECT 1"), 1)
        with raises("22P02"):
            await conn.fetch("SELECT $1::text::int", "x")
        equal(await conn.fetchval("SELECT 1"), 1)


@test("timeouts and task cancellation cancel on the server, and the connection is usable afterwards")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        await add(conn, 17, 1)
        # Other suites may sleep on the same servers: ours are told by a mark.
        mark = f"/* {uuid.uuid4()} */"
        for statement in (f"SELECT pg_sleep(50) {mark}", f"SELECT pg_sleep(50) {mark} FROM asyncpg_orders WHERE customer_id = 17"):
            try:
                await conn.fetch(statement, timeout=1)
                raise AssertionError("no timeout")
            except asyncio.TimeoutError:
                pass
            equal(await conn.fetchval("SELECT 1"), 1)
            task = asyncio.ensure_future(conn.fetch(statement))
            await asyncio.sleep(1)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            equal(await conn.fetchval("SELECT 1"), 1)
        sleeping = f"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(50) {mark}%' AND state = 'active'"
        equal(await conn.fetchval(sleeping), 0)


@test("introspection of types: enum, composite, domain, array of enum")
async def _(url):
    async with session(url) as conn:
        await conn.execute("DROP TABLE IF EXISTS asyncpg_moods")
        await conn.execute("DROP TYPE IF EXISTS asyncpg_mood, asyncpg_pair")
        await conn.execute("DROP DOMAIN IF EXISTS asyncpg_small")
        await conn.execute("CREATE TYPE asyncpg_mood AS ENUM ('sad', 'ok', 'glad')")
        await conn.execute("CREATE TYPE asyncpg_pair AS (a int, b text)")
        await conn.execute("CREATE DOMAIN asyncpg_small AS int CHECK (value < 1000)")
        await conn.execute(
            "CREATE TABLE asyncpg_moods (customer_id int PRIMARY KEY, mood asyncpg_mood, moods asyncpg_mood[], pair asyncpg_pair,"
            " small asyncpg_small)"
        )
        for key in KEYS[:16]:
            await conn.execute("INSERT INTO asyncpg_moods VALUES ($1, $2, $3, $4, $5)", key, "glad", ["ok", "sad"], (key, "x"), key)
            got = await conn.fetchrow("SELECT mood, moods, pair, small FROM asyncpg_moods WHERE customer_id = $1", key)
            equal((got[0], got[1], tuple(got[2]), got[3]), ("glad", ["ok", "sad"], (key, "x"), key))
        await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        equal(await conn.fetchval("SELECT $1::jsonb", {"a": 1}), {"a": 1})


@test("pool: many workers, reset between them, nothing leaks")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
    async with asyncpg.create_pool(url, min_size=2, max_size=6) as pool:

        async def work(key):
            async with pool.acquire() as conn:
                equal(await conn.fetchval("SHOW work_mem"), "4MB")
                await conn.execute("SET work_mem = '9MB'")
                async with conn.transaction():
                    for n in range(5):
                        await add(conn, key, n)
            equal([row[0] for row in await pool.fetch("SELECT total FROM asyncpg_orders WHERE customer_id = $1 ORDER BY 1", key)], [0, 1, 2, 3, 4])

        await asyncio.gather(*(work(key) for key in KEYS))


@test("SELECT without key returns the rows of all shards")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        for key in KEYS:
            await add(conn, key, key)
        got = await conn.fetch("SELECT customer_id, total FROM asyncpg_orders WHERE total < $1", Decimal(33))
        equal(sorted(map(tuple, got)), [(key, key) for key in KEYS if key < 33])
        got = await conn.fetch("SELECT customer_id FROM asyncpg_orders WHERE customer_id = ANY($1)", KEYS[::7])
        equal(sorted(map(tuple, got)), [(key,) for key in KEYS[::7]])


@test("dropping what the suite made")
async def _(url):
    async with session(url) as conn:
        for table in ("orders", "types", "by_text", "by_varchar", "by_uuid", "countries", "moods"):
            await conn.execute(f"DROP TABLE IF EXISTS asyncpg_{table}")
        await conn.execute("DROP TYPE IF EXISTS asyncpg_mood, asyncpg_pair, asyncpg_small")
        equal(await conn.fetchval("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'asyncpg\\_%'"), 0)


@refusal("all shards: aggregates, order, transactions; what is refused")
async def _(url):
    async with session(url) as conn:
        await orders(conn)
        for key in KEYS:
            await add(conn, key, key)
        equal(await conn.fetchval("SELECT sum(total) FROM asyncpg_orders"), sum(KEYS))
        largest = await conn.fetch("SELECT total FROM asyncpg_orders ORDER BY total DESC LIMIT $1", 3)
        equal([row["total"] for row in largest], sorted(KEYS)[:-4:-1])
        try:
            async with conn.transaction():
                for key in KEYS:
                    await add(conn, key, 1)
                raise KeyError
        except KeyError:
            pass
        for key in KEYS:
            equal(await totals(conn, key), [key])
        await conn.executemany(
            "INSERT INTO asyncpg_orders (customer_id, id) VALUES ($1, $2)", [(key, uuid.uuid4()) for key in KEYS]
        )
        equal(await conn.fetchval("SELECT count(*) FROM asyncpg_orders"), 2 * len(KEYS))
        equal(await conn.execute("DELETE FROM asyncpg_orders"), f"DELETE {2 * len(KEYS)}")
        for statement in ("SELECT ctid FROM asyncpg_orders", "SELECT * FROM asyncpg_orders TABLESAMPLE SYSTEM (10) REPEATABLE (1)"):
            with raises("0A000"):
                await conn.fetch(statement)
        await conn.execute("DROP TABLE asyncpg_orders")


if __name__ == "__main__":
    program()
