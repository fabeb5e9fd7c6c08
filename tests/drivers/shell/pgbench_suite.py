"""pgbench in all three protocol modes, its pipelines, and scripts that check each answer.

`pgbench_suite.py URL [--gateway]`; the accounts are keyed by `aid` (see ../gateway.toml).
"""

import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
from suite import equal, program, test  # noqa: E402

ACCOUNTS = 20000
MODES = ("simple", "extended", "prepared")


def sql(url, script):
    """Runs a script by psql; its rows."""
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", url], input=script, text=True, capture_output=True, timeout=50)
    equal(done.returncode, 0, done.stderr)
    return done.stdout.splitlines()


def pgbench(url, *options, script=None, transactions):
    """Runs pgbench and checks that each transaction was made, none failed."""
    with tempfile.NamedTemporaryFile("w", suffix=".pgbench") as file:
        if script:
            file.write(script)
            file.flush()
            options += ("-f", file.name)
        done = subprocess.run(["pgbench", "-n", *options, url], text=True, capture_output=True, timeout=55)
    equal(done.returncode, 0, done.stderr[-600:])
    counts = re.search(r"actually processed: (\d+)", done.stdout)
    equal(int(counts.group(1)) if counts else None, transactions, done.stderr[-300:])
    failed = re.search(r"failed transactions: (\d+)", done.stdout)
    equal(failed.group(1) if failed else None, "0", done.stdout)


def load(url):
    """The standard tables; accounts by COPY, where each balance is 10 times its aid."""
    done = subprocess.run(["pgbench", "-i", "-I", "dtp", "-q", url], text=True, capture_output=True, timeout=50)
    equal(done.returncode, 0, done.stderr[-600:])
    lines = "".join(f"{aid}\t1\t{aid * 10}\t\n" for aid in range(1, ACCOUNTS + 1))
    sql(url, f"COPY pgbench_accounts FROM STDIN;\n{lines}\\.\nINSERT INTO pgbench_branches VALUES (1, 0);\n")


@test("initialize: drop, tables, primary keys; accounts by COPY; vacuum")
def _(url):
    load(url)
    done = subprocess.run(["pgbench", "-i", "-I", "v", "-q", url], text=True, capture_output=True, timeout=50)
    equal(done.returncode, 0, done.stderr[-600:])
    equal(sql(url, "SELECT abalance FROM pgbench_accounts WHERE aid = 777;"), ["7770"])
    equal(len(sql(url, "SELECT aid FROM pgbench_accounts;")), ACCOUNTS)


@test("select-only in each protocol mode, 16 clients")
def _(url):
    load(url)
    for mode in MODES:
        pgbench(url, "-S", "-M", mode, "-c", "16", "-j", "2", "-t", "100", transactions=1600)


@test("a connection for each transaction")
def _(url):
    load(url)
    pgbench(url, "-S", "-C", "-c", "4", "-t", "10", transactions=40)


@test("each answer is the right account's, in each protocol mode")
def _(url):
    load(url)
    script = (
        f"\\set aid random(1, {ACCOUNTS})\nSELECT aid AS got, abalance AS balance FROM pgbench_accounts WHERE aid = :aid \\gset\n"
        "\\if :got <> :aid or :balance <> 10 * :aid\nSELECT 1/0;\n\\endif\n"
    )
    for mode in MODES:
        pgbench(url, "-M", mode, "-c", "16", "-j", "2", "-t", "50", script=script, transactions=800)


@test("BEGIN, SELECT, UPDATE, SELECT, END on one key; every update is kept")
def _(url):
    load(url)
    script = (
        f"\\set aid random(1, {ACCOUNTS})\nBEGIN;\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
        "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n"
        "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\nEND;\n"
    )
    for mode in MODES:
        pgbench(url, "-M", mode, "-c", "8", "-j", "2", "-t", "30", script=script, transactions=240)
    balances = sum(int(line) for line in sql(url, "SELECT abalance FROM pgbench_accounts;"))
    equal(balances, 10 * ACCOUNTS * (ACCOUNTS + 1) // 2 + 3 * 240)


@test("pipelines of reads on many keys, of writes on one")
def _(url):
    load(url)
    script = "\\startpipeline\n" + "".join(
        f"\\set a{n} random(1, {ACCOUNTS})\nSELECT abalance FROM pgbench_accounts WHERE aid = :a{n};\n" for n in range(10)
    ) + "\\endpipeline\n"
    # Meta-commands other than the pipeline's own may stand inside it.
    for mode in ("extended", "prepared"):
        pgbench(url, "-M", mode, "-c", "8", "-j", "2", "-t", "20", script=script, transactions=160)
    script = (
        f"\\set aid random(1, {ACCOUNTS})\n\\startpipeline\nUPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n"
        "UPDATE pgbench_accounts SET abalance = abalance - 1 WHERE aid = :aid;\n\\endpipeline\n"
    )
    for mode in ("extended", "prepared"):
        pgbench(url, "-M", mode, "-c", "8", "-j", "2", "-t", "20", script=script, transactions=160)


@test("dropping what the suite made")
def _(url):
    done = subprocess.run(["pgbench", "-i", "-I", "d", "-q", url], text=True, capture_output=True, timeout=50)
    equal(done.returncode, 0, done.stderr[-600:])
    equal(sql(url, "SELECT relname FROM pg_class WHERE relname LIKE 'pgbench\\_%';"), [])


if __name__ == "__main__":
    program()
