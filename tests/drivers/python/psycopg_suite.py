"""psycopg 3: sync and async connections, text and binary results, pipelines, COPY, psycopg_pool."""

import asyncio
import datetime as dt
import threading
import uuid
from decimal import Decimal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, namedtuple_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from suite import equal, program, raises, refusal, test, true

KEYS = list(range(1, 65))
COLUMNS = "i2, i4, i8, n, f8, t, b, u, tstz, ts, d, tm, iv, jb, ia, ta, bo"


def connect(url, **options):
    return psycopg.connect(url, autocommit=True, **options)


def orders(conn):
    """An empty orders table."""
    conn.execute("DROP TABLE IF EXISTS psycopg_orders")
    conn.execute(
        "CREATE TABLE psycopg_orders (customer_id bigint NOT NULL, id uuid NOT NULL, status text NOT NULL DEFAULT 'new',"
        " total numeric(12,2), PRIMARY KEY (customer_id, id))"
    )


def add(conn, key, total, status="new", **options):
    """One order; its id."""
    order = uuid.uuid4()
    conn.execute("INSERT INTO psycopg_orders VALUES (%s, %s, %s, %s)", (key, order, status, total), **options)
    return order


def totals(conn, key):
    """A customer's totals, in order."""
    return [row[0] for row in conn.execute("SELECT total FROM psycopg_orders WHERE customer_id = %s ORDER BY total", (key,))]


@test("connect with application_name, client_encoding, timezone and options")
def _(url):
    with connect(
        url, application_name="drivers-psycopg", client_encoding="LATIN1", options="-c timezone=Asia/Tokyo -c work_mem=5MB"
    ) as conn:
        equal(conn.execute("SHOW application_name").fetchone(), ("drivers-psycopg",))
        equal(conn.execute("SHOW timezone").fetchone(), ("Asia/Tokyo",))
        equal(conn.execute("SHOW work_mem").fetchone(), ("5MB",))
        equal(conn.info.encoding, "iso8859-1")
        equal(conn.info.parameter_status("TimeZone"), "Asia/Tokyo")
        equal(conn.execute("SELECT %s::text", ("caf\u00e9",)).fetchone(), ("caf\u00e9",))
        true(conn.info.server_version >= 130000, "server_version")
        equal(conn.execute("SELECT current_user::text, current_database()::text").fetchone(), ("app", "shop"))


@test("the backend's pid is the one told at connect")
def _(url):
    with connect(url) as conn:
        equal(conn.execute("SELECT pg_backend_pid()").fetchone()[0], conn.info.backend_pid)


@test("wrong password and unknown database have PostgreSQL's SQLSTATEs")
def _(url):
    info = psycopg.conninfo.conninfo_to_dict(url)
    for change in ({"password": "wrong"}, {"user": "nobody"}):
        try:
            psycopg.connect(**{**info, **change}).close()
            raise AssertionError(f"{change} was let in")
        except psycopg.OperationalError as error:
            true("password authentication failed" in str(error), str(error))
    try:
        psycopg.connect(**{**info, "dbname": "nowhere"}).close()
        raise AssertionError("unknown database was let in")
    except psycopg.OperationalError as error:
        true('database "nowhere" does not exist' in str(error), str(error))


@test("types go in and come back, text and binary, over many keys")
def _(url):
    with connect(url) as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_types")
        conn.execute(
            "CREATE TABLE psycopg_types (customer_id int NOT NULL, id uuid NOT NULL, i2 int2, i4 int4, i8 int8, n numeric, f8 float8,"
            " t text, b bytea, u uuid, tstz timestamptz, ts timestamp, d date, tm time, iv interval, jb jsonb, ia int[],"
            " ta text[], bo bool, PRIMARY KEY (customer_id, id))"
        )
        values = (
            -32768, 2147483647, -(2**63), Decimal("-12345678901234567890.123456789"), 1e-300,
            "Grüße, 世界 \\ ' \" \t\n", bytes(range(256)), uuid.UUID(int=2**128 - 1),
            dt.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=dt.timezone.utc), dt.datetime(1999, 12, 31, 1, 2, 3),
            dt.date(1900, 1, 1), dt.time(23, 59, 59, 1), dt.timedelta(days=40, seconds=7, microseconds=5),
            {"a": [1, 2.5, None, "x"], "b": {"c": True}}, [1, None, -3], ["a", None, 'q"uo,te', ""], True,
        )
        places = ", ".join(["%s"] * (2 + len(values)))
        sent = tuple(Jsonb(v) if isinstance(v, dict) else v for v in values)
        nothing = (None,) * len(values)
        for binary in (False, True):
            for key in KEYS[:16]:
                for row, expected in ((sent, values), (nothing, nothing)):
                    with conn.cursor(binary=binary) as cur:
                        order = uuid.uuid4()
                        cur.execute(f"INSERT INTO psycopg_types VALUES ({places})", (key, order) + row)
                        equal(cur.rowcount, 1)
                        cur.execute(f"SELECT {COLUMNS} FROM psycopg_types WHERE customer_id = %s AND id = %s", (key, order))
                        equal(cur.fetchall(), [expected], f"key {key}, binary {binary}")
        binary_format = conn.execute("SELECT n FROM psycopg_types WHERE customer_id = %b", (KEYS[0],), binary=True)
        equal(len(binary_format.fetchall()), 4)


@test("keys of type text and uuid")
def _(url):
    with connect(url) as conn:
        for kind, keys in (("text", [f"ключ-{n}" for n in KEYS]), ("uuid", [uuid.uuid4() for _ in KEYS])):
            table = f"psycopg_by_{kind}"
            conn.execute(f"DROP TABLE IF EXISTS {table}")
            conn.execute(f"CREATE TABLE {table} (customer_id {kind} NOT NULL, n int NOT NULL, PRIMARY KEY (customer_id, n))")
            for n, key in enumerate(keys):
                conn.execute(f"INSERT INTO {table} VALUES (%s, %s)", (key, n))
            for binary in (False, True):
                for n, key in enumerate(keys):
                    found = conn.execute(f"SELECT customer_id, n FROM {table} WHERE customer_id = %s", (key,), binary=binary)
                    equal(found.fetchall(), [(key, n)])
            equal(sorted(n for (n,) in conn.execute(f"SELECT n FROM {table}")), list(range(len(KEYS))))


@test("commit, rollback and the connection's context manager")
def _(url):
    with connect(url) as setup:
        orders(setup)
    with psycopg.connect(url) as conn:
        add(conn, 1, 10)
        conn.commit()
        add(conn, 1, 20)
        conn.rollback()
        equal(totals(conn, 1), [10])
    try:
        with psycopg.connect(url) as conn:
            add(conn, 2, 30)
            raise KeyError("leave")
    except KeyError:
        pass
    with connect(url) as conn:
        equal(totals(conn, 2), [])
        equal(totals(conn, 1), [10])


@test("savepoints as nested transaction blocks")
def _(url):
    with connect(url) as conn:
        orders(conn)
        with conn.transaction():
            add(conn, 5, 1)
            try:
                with conn.transaction():
                    add(conn, 5, 2)
                    conn.execute("SELECT 1/0")
            except psycopg.errors.DivisionByZero:
                pass
            with conn.transaction() as inner:
                add(conn, 5, 3)
                raise psycopg.Rollback(inner)
            with conn.transaction():
                add(conn, 5, 4)
        equal(totals(conn, 5), [1, 4])


@test("an error inside a transaction fails it until rollback")
def _(url):
    with psycopg.connect(url) as conn:
        conn.execute("SELECT 1")
        with raises("42P01"):
            conn.execute("SELECT * FROM psycopg_no_such_table")
        equal(conn.info.transaction_status, psycopg.pq.TransactionStatus.INERROR)
        with raises("25P02"):
            conn.execute("SELECT 1")
        conn.rollback()
        equal(conn.execute("SELECT 1").fetchone(), (1,))


@test("isolation level, read only and deferrable")
def _(url):
    with psycopg.connect(url) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        equal(conn.execute("SHOW transaction_isolation").fetchone(), ("repeatable read",))
        with raises("25006"):
            add(conn, 1, 1)
        conn.rollback()


@test("transactions that read many keys and write one")
def _(url):
    with connect(url) as setup:
        orders(setup)
        for key in KEYS:
            add(setup, key, key)
    with psycopg.connect(url) as conn:
        for key in KEYS[:16]:
            equal(totals(conn, key), [key])
        add(conn, 3, 1000)
        conn.commit()
        equal(totals(conn, 3), [3, 1000])


@test("prepared statements re-used over many keys")
def _(url):
    with connect(url, prepare_threshold=0) as conn:
        orders(conn)
        for key in KEYS:
            add(conn, key, key)
        for round_ in range(3):
            for key in KEYS:
                equal(totals(conn, key), [key])
                found = conn.execute("UPDATE psycopg_orders SET status = %s WHERE customer_id = %s", (f"r{round_}", key))
                equal(found.rowcount, 1)


@test("more prepared statements than the driver keeps")
def _(url):
    with connect(url, prepare_threshold=0) as conn:
        orders(conn)
        conn.prepared_max = 10
        for n in range(60):
            add(conn, n, n)
            got = conn.execute(f"SELECT total + {n} FROM psycopg_orders WHERE customer_id = %s", (n,)).fetchall()
            equal(got, [(2 * n,)])


@test("prepared statements after DDL")
def _(url):
    with connect(url, prepare_threshold=0) as conn:
        orders(conn)
        for key in KEYS[:8]:
            add(conn, key, key)
        for key in KEYS[:8]:
            equal(totals(conn, key), [key])
        conn.execute("ALTER TABLE psycopg_orders ADD COLUMN note text DEFAULT 'none'")
        for key in KEYS[:8]:
            equal(totals(conn, key), [key])
        equal(conn.execute("SELECT note FROM psycopg_orders WHERE customer_id = 1").fetchall(), [("none",)])
        conn.execute("DROP TABLE psycopg_orders")
        with raises("42P01"):
            totals(conn, 1)
        orders(conn)
        equal(totals(conn, 1), [])


@test("SQL PREPARE and EXECUTE over many keys")
def _(url):
    with connect(url) as conn:
        orders(conn)
        for key in KEYS[:16]:
            add(conn, key, key)
        conn.execute("PREPARE by_key(bigint) AS SELECT total FROM psycopg_orders WHERE customer_id = $1")
        for key in KEYS[:16]:
            equal(conn.execute(f"EXECUTE by_key({key})").fetchall(), [(key,)])
        conn.execute("DEALLOCATE by_key")
        with raises("26000"):
            conn.execute("EXECUTE by_key(1)")


@test("pipeline: reads over many keys, one trip")
def _(url):
    with connect(url) as conn:
        orders(conn)
        for key in KEYS:
            add(conn, key, key)
        with conn.pipeline():
            cursors = [conn.execute("SELECT total FROM psycopg_orders WHERE customer_id = %s", (key,)) for key in KEYS]
        equal([cur.fetchone()[0] for cur in cursors], KEYS)


@test("pipeline: writes of one key per sync, over many keys")
def _(url):
    with connect(url) as conn:
        orders(conn)
        with conn.pipeline() as pipeline:
            for key in KEYS:
                add(conn, key, key)
                add(conn, key, key + 1000)
                pipeline.sync()
        for key in KEYS:
            equal(totals(conn, key), [key, key + 1000])


@test("pipeline: an error skips the rest up to the sync, nothing of it is kept")
def _(url):
    with connect(url) as conn:
        orders(conn)
        with raises("22012"):
            with conn.pipeline():
                add(conn, 7, 1)
                conn.execute("SELECT 1 / %s", (0,))
                add(conn, 7, 2)
        equal(totals(conn, 7), [])
        add(conn, 7, 3)
        equal(totals(conn, 7), [3])


@test("executemany of one key, with RETURNING")
def _(url):
    with connect(url) as conn:
        orders(conn)
        with conn.cursor() as cur:
            rows = [(9, uuid.uuid4(), n) for n in range(100)]
            cur.executemany(
                "INSERT INTO psycopg_orders (customer_id, id, total) VALUES (%s, %s, %s) RETURNING id", rows, returning=True
            )
            got = []
            while True:
                got.append(cur.fetchone()[0])
                if not cur.nextset():
                    break
            equal(got, [row[1] for row in rows])
        equal(totals(conn, 9), list(range(100)))


@test("COPY in and out: text, CSV and binary, rows of every shard")
def _(url):
    rows = [(key, uuid.uuid4(), f"tab\t\\ and ünïcode {key}", Decimal(key) / 4) for key in KEYS * 50]
    with connect(url) as conn:
        for binary in (False, True):
            orders(conn)
            mode = " WITH (FORMAT binary)" if binary else ""
            with conn.cursor() as cur:
                with cur.copy(f"COPY psycopg_orders (customer_id, id, status, total) FROM STDIN{mode}") as copy:
                    if binary:
                        copy.set_types(["int8", "uuid", "text", "numeric"])
                    for row in rows:
                        copy.write_row(row)
                equal(cur.rowcount, len(rows))
                got = []
                with cur.copy(f"COPY psycopg_orders TO STDOUT{mode}") as copy:
                    copy.set_types(["int8", "uuid", "text", "numeric"])
                    got.extend(copy.rows())
                equal(sorted(got), sorted(rows), f"binary {binary}")
                equal(cur.rowcount, len(rows))
        orders(conn)
        with conn.cursor() as cur:
            with cur.copy("COPY psycopg_orders (id, customer_id, total) FROM STDIN (FORMAT csv, HEADER)") as copy:
                copy.write("id,customer_id,total\n")
                for key, order, _, total in rows:
                    copy.write(f'{order},"{key}",{total}\n')
            with cur.copy("COPY psycopg_orders (total) TO STDOUT (FORMAT csv)") as copy:
                lines = b"".join(copy).decode().split()
        equal(sorted(map(Decimal, lines)), sorted(row[3] for row in rows))


@test("COPY of a query of one key")
def _(url):
    with connect(url) as conn:
        orders(conn)
        for n in range(5):
            add(conn, 11, n)
        with conn.cursor() as cur:
            with cur.copy("COPY (SELECT total FROM psycopg_orders WHERE customer_id = 11 ORDER BY total DESC) TO STDOUT") as copy:
                equal([row[0] for row in copy.rows()], ["4.00", "3.00", "2.00", "1.00", "0.00"])


@test("COPY into a reference table and a join with it on every shard")
def _(url):
    with connect(url) as conn:
        orders(conn)
        conn.execute("DROP TABLE IF EXISTS psycopg_countries")
        conn.execute("CREATE TABLE psycopg_countries (code text PRIMARY KEY, name text NOT NULL)")
        with conn.cursor() as cur:
            with cur.copy("COPY psycopg_countries FROM STDIN") as copy:
                for row in (("at", "Austria"), ("nl", "Netherlands"), ("nz", "New Zealand")):
                    copy.write_row(row)
        for key in KEYS[:16]:
            add(conn, key, 1, status="nl")
            joined = conn.execute(
                "SELECT c.name FROM psycopg_orders o JOIN psycopg_countries c ON c.code = o.status WHERE o.customer_id = %s", (key,)
            )
            equal(joined.fetchall(), [("Netherlands",)])
        equal(conn.execute("SELECT count(*) FROM psycopg_countries").fetchone(), (3,))


@test("a home table is read and written like any table")
def _(url):
    with connect(url) as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_settings")
        conn.execute("CREATE TABLE psycopg_settings (name text PRIMARY KEY, value text)")
        with conn.transaction():
            conn.execute("INSERT INTO psycopg_settings VALUES ('a', '1'), ('b', '2'), ('c', '3')")
            conn.execute("UPDATE psycopg_settings SET value = value || '!' WHERE name <> 'b'")
        got = conn.execute("SELECT string_agg(value, ',' ORDER BY name), count(*) FROM psycopg_settings").fetchone()
        equal(got, ("1!,2,3!", 3))


@test("a COPY that fails or is given up leaves nothing and a usable connection")
def _(url):
    with connect(url) as conn:
        orders(conn)
        with raises("22P02"):
            with conn.cursor() as cur, cur.copy("COPY psycopg_orders (customer_id, id, total) FROM STDIN") as copy:
                for key in KEYS:
                    copy.write_row((key, uuid.uuid4(), 1))
                copy.write(f"1\t{uuid.uuid4()}\tnot a number\n")
        equal(conn.execute("SELECT 1").fetchone(), (1,))
        try:
            with conn.cursor() as cur, cur.copy("COPY psycopg_orders (customer_id, id, total) FROM STDIN") as copy:
                copy.write_row((1, uuid.uuid4(), 1))
                raise KeyError("given up")
        except KeyError:
            pass
        with raises("42P01"):
            with conn.cursor() as cur, cur.copy("COPY psycopg_no_such_table FROM STDIN") as copy:
                pass
        for key in KEYS:
            equal(totals(conn, key), [])


@test("errors keep SQLSTATE, message, constraint and position; the connection is usable afterwards")
def _(url):
    with connect(url) as conn:
        orders(conn)
        order = add(conn, 13, 1)
        with raises("23505") as caught:
            conn.execute("INSERT INTO psycopg_orders VALUES (%s, %s, 'x', 1)", (13, order))
        equal(caught.error.diag.constraint_name, "psycopg_orders_pkey")
        equal(caught.error.diag.table_name, "psycopg_orders")
        true(str(order) in caught.error.diag.message_detail, "detail names the key")
        with raises("42601") as caught:
            conn.execute("SELEC 1")
        equal(caught.error.diag.statement_position, "1")
        for state, statement in (
            ("42703", "SELECT nothing FROM psycopg_orders WHERE customer_id = 1"),
            ("23502", "INSERT INTO psycopg_orders (customer_id, id, status) VALUES (1, gen_random_uuid(), NULL)"),
            ("22003", "SELECT 2147483647 + 1"),
            ("42883", "SELECT no_such_function()"),
            ("22P02", "SELECT 'x'::int"),
        ):
            with raises(state):
                conn.execute(statement)
            equal(conn.execute("SELECT 1").fetchone(), (1,))


@test("notices reach their handler")
def _(url):
    with connect(url) as conn:
        seen = []
        conn.add_notice_handler(lambda notice: seen.append((notice.severity, notice.message_primary)))
        conn.execute("DROP TABLE IF EXISTS psycopg_never_there")
        equal(seen, [("NOTICE", 'table "psycopg_never_there" does not exist, skipping')])


@test("cancel: no table, and a statement of one key")
def _(url):
    with connect(url) as conn:
        orders(conn)
        add(conn, 17, 1)
        for statement in ("SELECT pg_sleep(50)", "SELECT pg_sleep(50) FROM psycopg_orders WHERE customer_id = 17"):
            ended = threading.Event()

            def cancel():
                # Again and again: nobody tells when the statement has begun.
                while not ended.wait(0.5):
                    conn.cancel_safe()

            thread = threading.Thread(target=cancel)
            thread.start()
            try:
                with raises("57014"):
                    conn.execute(statement)
            finally:
                ended.set()
                thread.join()
            equal(conn.execute("SELECT 1").fetchone(), (1,))


@test("statement_timeout set by SET and by options")
def _(url):
    with connect(url, options="-c statement_timeout=200ms") as conn:
        with raises("57014"):
            conn.execute("SELECT pg_sleep(50)")
        conn.execute("SET statement_timeout = '150ms'")
        with raises("57014"):
            conn.execute("SELECT pg_sleep(50)")
        equal(conn.execute("SHOW statement_timeout").fetchone(), ("150ms",))
        conn.execute("RESET statement_timeout")
        equal(conn.execute("SHOW statement_timeout").fetchone(), ("200ms",))


@test("settings stay with their session")
def _(url):
    with connect(url) as one, connect(url) as other:
        orders(one)
        one.execute("SET timezone = 'America/Lima'")
        one.execute("SET datestyle = 'SQL, DMY'")
        for key in KEYS[:8]:
            equal(one.execute("SHOW timezone").fetchone(), ("America/Lima",))
            one.execute("SELECT * FROM psycopg_orders WHERE customer_id = %s", (key,))
            true(other.execute("SHOW timezone").fetchone() != ("America/Lima",), "a setting leaked")
        equal(one.info.parameter_status("TimeZone"), "America/Lima")
        equal(one.execute("SELECT date '2024-12-31'::text").fetchone(), ("31/12/2024",))
        with one.transaction():
            one.execute("SET LOCAL timezone = 'Asia/Tokyo'")
            equal(one.execute("SHOW timezone").fetchone(), ("Asia/Tokyo",))
        equal(one.execute("SHOW timezone").fetchone(), ("America/Lima",))


@test("cursors: server-side, scrolling, row factories, stream")
def _(url):
    with psycopg.connect(url) as conn:
        orders(conn)
        conn.commit()
        for n in range(50):
            add(conn, 19, n)
        conn.commit()
        with conn.cursor(name="server side") as cur:
            cur.itersize = 7
            cur.execute("SELECT total FROM psycopg_orders WHERE customer_id = 19 ORDER BY total")
            equal([row[0] for row in cur], list(range(50)))
        with conn.cursor(name="scrolling", scrollable=True) as cur:
            cur.execute("SELECT total FROM psycopg_orders WHERE customer_id = %s ORDER BY total", (19,))
            equal(cur.fetchmany(3), [(0,), (1,), (2,)])
            cur.scroll(-2)
            equal(cur.fetchone(), (1,))
        conn.commit()
        with conn.cursor(row_factory=dict_row) as cur:
            equal(cur.execute("SELECT 1 AS a, 'b' AS b").fetchone(), {"a": 1, "b": "b"})
        with conn.cursor(row_factory=namedtuple_row) as cur:
            equal(cur.execute("SELECT 1 AS a").fetchone().a, 1)
        with conn.cursor() as cur:
            equal(sorted(row[0] for row in cur.stream("SELECT total FROM psycopg_orders")), list(range(50)))


@test("client-side binding, several statements in one query, sql composition")
def _(url):
    with connect(url, cursor_factory=psycopg.ClientCursor) as conn:
        orders(conn)
        cur = conn.execute(
            "INSERT INTO psycopg_orders VALUES (%s, gen_random_uuid(), 'a', 5); SELECT total FROM psycopg_orders WHERE customer_id = %s",
            (21, 21),
        )
        true(cur.nextset(), "second result")
        equal(cur.fetchall(), [(5,)])
        query = sql.SQL("SELECT {} FROM {} WHERE customer_id = {}").format(
            sql.Identifier("total"), sql.Identifier("public", "psycopg_orders"), sql.Literal(21)
        )
        equal(conn.execute(query).fetchall(), [(5,)])


@test("enum and composite types made through this connection")
def _(url):
    from psycopg.types.composite import CompositeInfo, register_composite
    from psycopg.types.enum import EnumInfo, register_enum

    with connect(url) as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_moods")
        conn.execute("DROP TYPE IF EXISTS psycopg_mood, psycopg_pair")
        conn.execute("CREATE TYPE psycopg_mood AS ENUM ('sad', 'ok', 'glad')")
        conn.execute("CREATE TYPE psycopg_pair AS (a int, b text)")
        conn.execute("CREATE TABLE psycopg_moods (customer_id int PRIMARY KEY, mood psycopg_mood, pair psycopg_pair)")
        register_enum(EnumInfo.fetch(conn, "psycopg_mood"), conn)
        pair = CompositeInfo.fetch(conn, "psycopg_pair")
        register_composite(pair, conn)
        for key in KEYS[:16]:
            conn.execute("INSERT INTO psycopg_moods VALUES (%s, %s, %s)", (key, "glad", pair.python_type(key, "x")))
            for binary in (False, True):
                mood, got = conn.execute(
                    "SELECT mood, pair FROM psycopg_moods WHERE customer_id = %s", (key,), binary=binary
                ).fetchone()
                equal((mood.name, got), ("glad", pair.python_type(key, "x")))


@test("psycopg_pool with DISCARD ALL as its reset query")
def _(url):
    with connect(url) as conn:
        orders(conn)
    # The driver does not know that DISCARD ALL drops its prepared statements.
    options = {"autocommit": True, "prepare_threshold": None}
    with ConnectionPool(
        url, min_size=2, max_size=4, open=True, reset=lambda conn: conn.execute("DISCARD ALL"), kwargs=options,
        check=ConnectionPool.check_connection,
    ) as pool:
        def work(key):
            for _ in range(5):
                with pool.connection() as conn:
                    add(conn, key, key)
                    conn.execute("SET statement_timeout = '33s'")
            with pool.connection() as conn:
                leaked.append(conn.execute("SHOW statement_timeout").fetchone()[0])

        leaked = []
        threads = [threading.Thread(target=work, args=(key,)) for key in KEYS[:12]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(leaked, ["0"] * 12)
    with connect(url) as conn:
        for key in KEYS[:12]:
            equal(totals(conn, key), [key] * 5)


@test("reset queries of other pools")
def _(url):
    with connect(url) as conn:
        for reset in (
            "DISCARD ALL",
            "SET SESSION AUTHORIZATION DEFAULT",
            "RESET ALL",
            "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD PLANS;"
            " DISCARD SEQUENCES; DISCARD TEMP",
            "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;",
            "ROLLBACK",
            "",
            ";",
            "-- ping",
            "/* ping */ SELECT 1",
        ):
            conn.execute("SET work_mem = '7MB'")
            conn.execute(reset)
            if "RESET ALL" in reset or "DISCARD ALL" in reset:
                equal(conn.execute("SHOW work_mem").fetchone(), ("4MB",), reset)
            equal(conn.execute("SELECT 1").fetchone(), (1,), reset)


@test("async connections, many at once, each with its key")
async def _(url):
    with connect(url) as conn:
        orders(conn)

    async def work(key):
        async with await psycopg.AsyncConnection.connect(url) as conn:
            for n in range(5):
                await conn.execute(
                    "INSERT INTO psycopg_orders (customer_id, id, total) VALUES (%s, %s, %s)", (key, uuid.uuid4(), n)
                )
                await conn.commit()
            cur = await conn.execute("SELECT total FROM psycopg_orders WHERE customer_id = %s ORDER BY 1", (key,))
            return [row[0] for row in await cur.fetchall()]

    for got in await asyncio.gather(*(work(key) for key in KEYS[:20])):
        equal(got, [0, 1, 2, 3, 4])


@test("quoted names, other schemas, search_path by SET and by options")
def _(url):
    with connect(url) as conn:
        conn.execute("DROP SCHEMA IF EXISTS psycopg_shop CASCADE")
        conn.execute("CREATE SCHEMA psycopg_shop")
        conn.execute('CREATE TABLE psycopg_shop."Mixed Case" ("customer_id" bigint PRIMARY KEY, "a ""b" text)')
        for key in KEYS[:16]:
            conn.execute('INSERT INTO psycopg_shop."Mixed Case" VALUES (%s, %s)', (key, f"k{key}"))
        select = 'SELECT "a ""b" FROM "Mixed Case" m WHERE m.customer_id = %s'
        with raises("42P01"):
            conn.execute(select, (1,))
        conn.execute("SET search_path TO psycopg_shop, public")
        with connect(url, options="-csearch_path=psycopg_shop,public", prepare_threshold=0) as other:
            for key in KEYS[:16]:
                equal(conn.execute(select, (key,)).fetchall(), [(f"k{key}",)])
                equal(other.execute(select, (key,)).fetchall(), [(f"k{key}",)])
        conn.execute("RESET search_path")
        with raises("42P01"):
            conn.execute(select, (1,))
        conn.execute("DROP SCHEMA psycopg_shop CASCADE")


@test("large values, and a thousand keys in one IN")
def _(url):
    with connect(url) as conn:
        conn.execute("DROP TABLE IF EXISTS psycopg_blobs")
        conn.execute("CREATE TABLE psycopg_blobs (customer_id bigint PRIMARY KEY, b bytea)")
        blob = bytes(range(256)) * 40_000
        for binary in (False, True):
            for key in KEYS[:4]:
                conn.execute("DELETE FROM psycopg_blobs WHERE customer_id = %s", (key,))
                conn.execute("INSERT INTO psycopg_blobs VALUES (%b, %b)", (key, blob), binary=binary)
                got = conn.execute("SELECT b FROM psycopg_blobs WHERE customer_id = %s", (key,), binary=binary).fetchone()[0]
                true(got == blob, f"10 MB came back as {len(got)} bytes")
        keys = list(range(2, 1002))
        places = ", ".join(["%s"] * len(keys))
        found = conn.execute(f"SELECT customer_id, length(b) FROM psycopg_blobs WHERE customer_id IN ({places})", keys).fetchall()
        equal(sorted(found), [(key, len(blob)) for key in (2, 3, 4)])


@test("SELECT without key returns the rows of all shards")
def _(url):
    with connect(url) as conn:
        orders(conn)
        for key in KEYS:
            add(conn, key, key)
        for binary in (False, True):
            got = conn.execute("SELECT customer_id, total FROM psycopg_orders WHERE total < %s", (33,), binary=binary).fetchall()
            equal(sorted(got), [(key, key) for key in KEYS if key < 33])
        some = conn.execute("SELECT customer_id FROM psycopg_orders WHERE customer_id = ANY(%s)", (KEYS[::7],)).fetchall()
        equal(sorted(some), [(key,) for key in KEYS[::7]])


@test("dropping what the suite made")
def _(url):
    with connect(url) as conn:
        for table in ("orders", "types", "by_text", "by_uuid", "countries", "settings", "moods", "blobs"):
            conn.execute(f"DROP TABLE IF EXISTS psycopg_{table}")
        conn.execute("DROP TYPE IF EXISTS psycopg_mood, psycopg_pair")
        equal(conn.execute("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'psycopg\\_%'").fetchone(), (0,))


@refusal("all shards: aggregates, order, transactions; what is refused")
def _(url):
    with connect(url) as conn:
        orders(conn)
        for key in KEYS:
            add(conn, key, key)
        for _round in range(7):
            equal(conn.execute("SELECT count(*), sum(total) FROM psycopg_orders").fetchone(), (len(KEYS), sum(KEYS)))
            equal([total for (total,) in conn.execute("SELECT total FROM psycopg_orders ORDER BY total DESC LIMIT 3")], sorted(KEYS)[:-4:-1])
        equal(conn.execute("SELECT DISTINCT status FROM psycopg_orders").rowcount, 1)
        try:
            with conn.transaction():
                for key in KEYS:
                    add(conn, key, 1)
                raise KeyError
        except KeyError:
            pass
        for key in KEYS:
            equal(totals(conn, key), [key])
        with conn.cursor() as cur:
            cur.executemany(
                "INSERT INTO psycopg_orders (customer_id, id, total) VALUES (%s, %s, 0)", [(key, uuid.uuid4()) for key in KEYS]
            )
        equal(conn.execute("SELECT count(*) FROM psycopg_orders").fetchone(), (2 * len(KEYS),))
        equal(conn.execute("UPDATE psycopg_orders SET customer_id = 2 WHERE customer_id = 1").rowcount, 2)
        equal(conn.execute("UPDATE psycopg_orders SET total = 5").rowcount, 2 * len(KEYS))
        equal(totals(conn, 2), [5] * 4)
        for statement in (
            "SELECT ctid FROM psycopg_orders",
            "SELECT * FROM psycopg_orders TABLESAMPLE SYSTEM (10) REPEATABLE (1)",
        ):
            with raises("0A000"):
                conn.execute(statement)
        series = "INSERT INTO psycopg_orders SELECT g, gen_random_uuid(), 'x', 1 FROM generate_series(1, 64) g"
        equal(conn.execute(series).rowcount, 64)
        equal(conn.execute("DELETE FROM psycopg_orders").rowcount, 2 * len(KEYS) + 64)
        conn.execute("DROP TABLE psycopg_orders")


if __name__ == "__main__":
    program()
