"""psql: its meta-commands, \\copy, variables, \\gdesc, exit status, notices, cancel.

`psql_suite.py URL [--gateway]`; each test runs psql as a user would, with a script on its standard input.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
from suite import equal, program, refusal, test, true  # noqa: E402

KEYS = range(1, 65)


def psql(url, script, *options, status=0, environment=None):
    """Runs psql; standard output, or both outputs when a failure is expected."""
    done = subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *options, url], input=script, text=True, capture_output=True, timeout=50,
        env={**os.environ, "PGCLIENTENCODING": "UTF8", **(environment or {})},
    )
    if done.returncode != status:
        raise AssertionError(f"exit status {done.returncode}, expected {status}: {done.stdout} {done.stderr}")
    return done.stdout if status == 0 else done.stdout + done.stderr


def rows(url, script, *options, **more):
    """Unaligned rows, sorted."""
    return sorted(psql(url, script, "-At", *options, **more).splitlines())


SCHEMA = """
DROP MATERIALIZED VIEW IF EXISTS psql_totals;
DROP VIEW IF EXISTS psql_paid;
DROP TABLE IF EXISTS psql_items, psql_orders, psql_countries, psql_settings;
DROP FUNCTION IF EXISTS psql_double(int);
DROP TYPE IF EXISTS psql_mood;
CREATE TYPE psql_mood AS ENUM ('sad', 'glad');
CREATE TABLE psql_orders (customer_id bigint NOT NULL, id int NOT NULL, total numeric(12,2) CHECK (total >= 0),
    mood psql_mood DEFAULT 'glad', at timestamptz DEFAULT now(), PRIMARY KEY (customer_id, id));
CREATE INDEX psql_orders_total ON psql_orders (total);
CREATE TABLE psql_items (customer_id bigint NOT NULL, order_id int NOT NULL, n int NOT NULL, note text, PRIMARY KEY (customer_id, order_id, n),
    FOREIGN KEY (customer_id, order_id) REFERENCES psql_orders (customer_id, id));
CREATE TABLE psql_countries (code text PRIMARY KEY, name text NOT NULL);
CREATE TABLE psql_settings (name text PRIMARY KEY, value text);
COMMENT ON TABLE psql_orders IS 'What was bought';
CREATE VIEW psql_paid AS SELECT customer_id, id FROM psql_orders WHERE total > 0;
CREATE FUNCTION psql_double(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
"""


def orders(url):
    """The schema, and two orders of each key."""
    psql(url, SCHEMA, environment={"PGOPTIONS": "-c client_min_messages=warning"})
    lines = "".join(f"{key}\t{n}\t{key}.{n}0\n" for key in KEYS for n in (1, 2))
    psql(url, f"COPY psql_orders (customer_id, id, total) FROM STDIN;\n{lines}\\.\n")


@test("pg_dump writes all shards' rows, and what it writes can be read in again")
def _(url):
    orders(url)
    psql(url, "CREATE MATERIALIZED VIEW psql_totals (whose, total) AS SELECT customer_id, sum(total) FROM psql_orders GROUP BY 1")
    before = rows(url, "SELECT customer_id, id, total, mood, at FROM psql_orders")
    words = ["pg_dump", "--exclude-schema=pgbraid", "--table=psql_*", "--clean", "--if-exists", "--no-owner", url]
    done = subprocess.run(words, text=True, capture_output=True, timeout=50)
    equal(done.returncode, 0, done.stderr)
    psql(url, done.stdout, environment={"PGOPTIONS": "-c client_min_messages=warning"})
    equal(rows(url, "SELECT customer_id, id, total, mood, at FROM psql_orders"), before)
    totals = "SELECT customer_id, sum(total) FROM psql_orders GROUP BY 1"
    equal(rows(url, "SELECT whose, total FROM psql_totals"), rows(url, totals))
    psql(url, "UPDATE psql_orders SET total = total + 1; REFRESH MATERIALIZED VIEW psql_totals")
    equal(rows(url, "SELECT whose, total FROM psql_totals"), rows(url, totals))
    psql(url, "DROP MATERIALIZED VIEW psql_totals")


@test("environment settings reach the session")
def _(url):
    environment = {"PGAPPNAME": "drivers-psql", "PGOPTIONS": "-c work_mem=5MB", "PGTZ": "Asia/Tokyo", "PGDATESTYLE": "SQL, DMY"}
    got = psql(url, "SHOW application_name; SHOW work_mem; SHOW timezone; SELECT date '2024-12-31';", "-At", environment=environment)
    equal(got.split("\n")[:-1], ["drivers-psql", "5MB", "Asia/Tokyo", "31/12/2024"])
    true("You are connected to database" in psql(url, "\\conninfo"), "conninfo")


@test("a wrong password is refused")
def _(url):
    told = psql(url.replace(":app@", ":wrong@"), "SELECT 1", status=2)
    true('password authentication failed for user "app"' in told, told)


@test("COPY FROM STDIN in the script, rows by key")
def _(url):
    orders(url)
    for key in KEYS[::16]:
        equal(rows(url, f"SELECT total FROM psql_orders WHERE customer_id = {key}"), [f"{key}.10", f"{key}.20"])
    equal(len(rows(url, "SELECT customer_id, id FROM psql_orders")), 2 * len(KEYS))


@test("a script over many keys in one session, in every client encoding")
def _(url):
    orders(url)
    script = "".join(f"SELECT customer_id, total FROM psql_orders WHERE customer_id = {key} AND id = 2;\n" for key in KEYS)
    got = psql(url, script, "-At").splitlines()
    equal(got, [f"{key}|{key}.20" for key in KEYS])
    latin = subprocess.run(
        ["psql", "-XqAt", url], capture_output=True, timeout=50, env={**os.environ, "PGCLIENTENCODING": "LATIN1"},
        input=b"INSERT INTO psql_items VALUES (9, 1, 1, 'caf\xe9');\nSELECT note, octet_length(note), length(note) FROM psql_items WHERE customer_id = 9;\n",
    )
    equal(latin.stdout, b"caf\xe9|5|4\n", latin.stderr)


@test("\\d, \\dt, \\l, \\df and their kin")
def _(url):
    orders(url)
    table = psql(url, "\\d psql_orders")
    for part in (
        'Table "public.psql_orders"', "customer_id | bigint", "numeric(12,2)", '"psql_orders_pkey" PRIMARY KEY, btree (customer_id, id)',
        '"psql_orders_total" btree (total)', "CHECK (total >= 0::numeric)", 'TABLE "psql_items" CONSTRAINT', "'glad'::psql_mood",
    ):
        true(part in table, f"\\d lacks {part}: {table}")
    true("Foreign-key constraints" in psql(url, "\\d+ psql_items"), "\\d+")
    listed = rows(url, "\\dt psql_*")
    equal(listed, [f"public|psql_{name}|table|app" for name in ("countries", "items", "orders", "settings")])
    true(any(line.startswith("shop|app|UTF8|") for line in rows(url, "\\l")), "\\l")
    equal(rows(url, "\\df psql_double"), ["public|psql_double|integer|n integer|func"])
    true("SELECT n * 2" in psql(url, "\\sf psql_double"), "\\sf")
    true("view" in psql(url, "\\dv psql_paid"), "\\dv")
    true("total > 0::numeric" in psql(url, "\\d+ psql_paid"), "\\d+ of a view")
    equal(rows(url, "\\dT psql_mood"), ["public|psql_mood|"])
    true("What was bought" in psql(url, "\\dt+ psql_orders"), "\\dt+")
    for command in ("\\d", "\\di", "\\ds", "\\dn+", "\\du", "\\dx", "\\dp psql_orders", "\\db", "\\dy", "\\dRp", "\\dconfig work_mem", "\\l+", "\\dD"):
        psql(url, command)
    equal(psql(url, "\\d psql_no_such_table", status=3), "")


@test("\\copy from and to a file")
def _(url):
    orders(url)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "orders.csv")
        psql(url, f"\\copy psql_orders (customer_id, id, total) TO '{path}' (FORMAT csv, HEADER)\n")
        with open(path) as file:
            lines = file.read().splitlines()
        equal(lines[0], "customer_id,id,total")
        equal(sorted(lines[1:]), sorted(f"{key},{n},{key}.{n}0" for key in KEYS for n in (1, 2)))
        psql(url, "DROP VIEW psql_paid; DROP TABLE psql_items, psql_orders; CREATE TABLE psql_orders (customer_id bigint, id int, total numeric)")
        told = psql(url, f"\\set QUIET off\n\\copy psql_orders FROM '{path}' (FORMAT csv, HEADER)\n")
        true("COPY 128" in told, told)
        equal(len(rows(url, "SELECT 1 FROM psql_orders")), 128)


@test("COPY into a reference table, home table, joins by key")
def _(url):
    orders(url)
    psql(url, "COPY psql_countries FROM STDIN (FORMAT csv);\nat,Austria\nnl,\"The, Netherlands\"\n\\.\n")
    psql(url, "INSERT INTO psql_settings VALUES ('country', 'nl'); UPDATE psql_settings SET value = 'at' WHERE name = 'country'")
    equal(rows(url, "SELECT value FROM psql_settings"), ["at"])
    script = "".join(
        f"SELECT o.customer_id, c.name FROM psql_orders o, psql_countries c WHERE o.customer_id = {key} AND o.id = 1 AND c.code = 'nl';" for key in KEYS
    )
    equal(psql(url, script, "-At").splitlines(), [f"{key}|The, Netherlands" for key in KEYS])


@test("variables, \\gset, \\gexec, \\gdesc, :SQLSTATE")
def _(url):
    orders(url)
    got = psql(
        url,
        "SELECT total AS t FROM psql_orders WHERE customer_id = 7 AND id = 1 \\gset\n\\echo :t\n"
        "SELECT :'t'::numeric + 1;\n"
        "SELECT customer_id, total FROM psql_orders WHERE customer_id = 7 \\gdesc\n"
        "SELECT format('SELECT total FROM psql_orders WHERE customer_id = %s AND id = 2', g) FROM generate_series(1, 3) g \\gexec\n"
        "\\if :{?SQLSTATE}\n\\echo :SQLSTATE\n\\endif\n",
        "-At",
    )
    equal(got.splitlines(), ["7.10", "8.10", "customer_id|bigint", "total|numeric(12,2)", "1.20", "2.20", "3.20", "00000"])


@test("transactions, ON_ERROR_ROLLBACK's savepoints, --single-transaction")
def _(url):
    orders(url)
    script = (
        "\\set ON_ERROR_STOP off\n\\set ON_ERROR_ROLLBACK on\nBEGIN;\nUPDATE psql_orders SET total = 1000 WHERE customer_id = 5 AND id = 1;\n"
        "SELECT 1/0;\nUPDATE psql_orders SET total = 2000 WHERE customer_id = 5 AND id = 2;\nCOMMIT;\n"
        "SELECT total FROM psql_orders WHERE customer_id = 5 ORDER BY id;\n"
    )
    equal(psql(url, script, "-At").splitlines(), ["1000.00", "2000.00"])
    psql(url, "UPDATE psql_orders SET total = 0 WHERE customer_id = 5;\nSELECT 1/0;\n", "-1", status=3)
    equal(rows(url, "SELECT total FROM psql_orders WHERE customer_id = 5"), ["1000.00", "2000.00"])


@test("FETCH_COUNT reads by cursor")
def _(url):
    orders(url)
    script = "\\set FETCH_COUNT 10\nSELECT g FROM generate_series(1, 35) g;\nSELECT total FROM psql_orders WHERE customer_id = 3 ORDER BY id;\n"
    equal(psql(url, script, "-At").splitlines(), [str(n) for n in range(1, 36)] + ["3.10", "3.20"])


@test("several statements in one -c, and what is done before an error is not kept")
def _(url):
    orders(url)
    options = ("-Atc", "UPDATE psql_orders SET total = 8 WHERE customer_id = 6 AND id = 1; SELECT total FROM psql_orders WHERE customer_id = 6 AND id = 1; SELECT 'é'")
    equal(psql(url, "", *options).splitlines(), ["8.00", "é"])
    psql(url, "", "-c", "UPDATE psql_orders SET total = 9 WHERE customer_id = 6; SELECT 1/0", status=1)
    equal(rows(url, "SELECT total FROM psql_orders WHERE customer_id = 6"), ["6.20", "8.00"])


@test("errors: SQLSTATE, position, detail, exit status")
def _(url):
    orders(url)
    told = psql(url, "\\set VERBOSITY verbose\nSELECT nothing FROM psql_orders WHERE customer_id = 1;\n", status=3)
    true('ERROR:  42703: column "nothing" does not exist' in told and "LINE 1: SELECT nothing" in told, told)
    told = psql(url, "INSERT INTO psql_orders VALUES (1, 1, 1);\n", status=3)
    true("DETAIL:  Key (customer_id, id)=(1, 1) already exists." in told, told)
    told = psql(url, "COPY psql_orders (customer_id, id, total) FROM STDIN;\n3\t77\t1\n4\t78\tx\n\\.\n", status=3)
    true('invalid input syntax for type numeric: "x"' in told, told)
    equal(rows(url, "SELECT 1 FROM psql_orders WHERE customer_id = 3 AND id = 77"), [])


@test("interrupt cancels the running statement")
def _(url):
    for statement in ("SELECT pg_sleep(50)", "SELECT pg_sleep(50) FROM psql_orders WHERE customer_id = 3"):
        running = subprocess.Popen(
            ["psql", "-Xqc", statement, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        # psql has no sign that the statement has begun, so it is interrupted until it gives in.
        for _ in range(100):
            time.sleep(0.3)
            running.send_signal(signal.SIGINT)
            try:
                running.wait(0.3)
                break
            except subprocess.TimeoutExpired:
                pass
        told = running.communicate()[1]
        true("canceling statement due to user request" in told or running.returncode == -signal.SIGINT, told)
        equal(running.returncode in (1, -signal.SIGINT), True, told)


@test("DDL is visible at once in another session")
def _(url):
    orders(url)
    psql(url, "ALTER TABLE psql_orders ADD COLUMN extra int DEFAULT 7")
    script = "".join(f"SELECT extra FROM psql_orders WHERE customer_id = {key} AND id = 1;" for key in KEYS)
    equal(psql(url, script, "-At").splitlines(), ["7"] * len(KEYS))
    psql(url, "ALTER TABLE psql_orders RENAME COLUMN extra TO more; TRUNCATE psql_settings")
    true("more" in psql(url, "\\d psql_orders"), "\\d after ALTER")


@test("a foreign key that names no columns refers to the primary key")
def _(url):
    orders(url)
    psql(url, "ALTER TABLE psql_items ADD CONSTRAINT again FOREIGN KEY (customer_id, order_id) REFERENCES psql_orders")
    psql(url, "INSERT INTO psql_items VALUES (4, 2, 1, 'x')")
    told = psql(url, "INSERT INTO psql_items VALUES (4, 99, 1, 'x')", status=3)
    true("violates foreign key constraint" in told, told)


@test("dropping what the suite made")
def _(url):
    psql(url, "DROP VIEW psql_paid; DROP TABLE psql_items, psql_orders, psql_countries, psql_settings; DROP FUNCTION psql_double; DROP TYPE psql_mood")
    equal(rows(url, "SELECT relname FROM pg_class WHERE relname LIKE 'psql\\_%'"), [])


@refusal("all shards: aggregates, order, transactions; what is refused")
def _(url):
    orders(url)
    equal(rows(url, "SELECT count(*), sum(customer_id) FROM psql_orders"), [f"{2 * len(KEYS)}|{2 * sum(KEYS)}"])
    equal(rows(url, "SELECT customer_id FROM psql_orders ORDER BY 1 DESC LIMIT 3"), ["63", "64", "64"])
    psql(url, "BEGIN; UPDATE psql_orders SET total = 0; ROLLBACK;")
    equal(rows(url, "SELECT count(*) FROM psql_orders WHERE total = 0"), ["0"])
    psql(url, "BEGIN; DELETE FROM psql_orders; ROLLBACK;")
    equal(rows(url, "SELECT count(*) FROM psql_orders"), ["128"])
    for statement in (
        "SELECT ctid FROM psql_orders", "SELECT * FROM psql_orders TABLESAMPLE SYSTEM (10) REPEATABLE (1)",
    ):
        told = psql(url, f"\\set VERBOSITY verbose\n{statement};\n", status=3)
        true("ERROR:  0A000:" in told and "HINT:" in told, told)
    psql(url, "DROP VIEW psql_paid; DROP TABLE psql_items, psql_orders, psql_countries, psql_settings; DROP FUNCTION psql_double; DROP TYPE psql_mood")


if __name__ == "__main__":
    program()
