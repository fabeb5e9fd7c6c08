"""Many rows: loaded, streamed to a client, copied into a table."""

import os
import subprocess

from servers import psql, say, url
from target import measured
from wire import Wire

SCHEMA = """
DROP TABLE IF EXISTS pgbench_accounts, bench_wide;
CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
CREATE TABLE bench_wide (aid int, n int, filler text, PRIMARY KEY (aid, n));
"""
WIDE_ROW_BYTES = 1000
SERIES = "SELECT n, n + 1, n % 1000, 'some text that is the same in every row', date '2026-11-21' FROM (SELECT generate_series(1, {}) n) s"


def load(port, sizes, folder):
    """The tables and their rows."""
    for statement in SCHEMA.strip().split(";\n"):
        if statement.strip():
            psql(url(port), statement)
    path = os.path.join(folder, "load")
    with open(path, "w") as file:
        file.writelines(account(aid, "\t") for aid in range(1, sizes.accounts + 1))
    with open(path) as file:
        psql(url(port), "COPY pgbench_accounts FROM STDIN", stdin=file)
    with open(path, "w") as file:
        # Half of the rows are of one key, the others of many.
        file.writelines(f"{1 if n % 2 else n}\t{n}\t{'w' * WIDE_ROW_BYTES}\n" for n in range(sizes.wide_rows))
    with open(path) as file:
        psql(url(port), "COPY bench_wide FROM STDIN", stdin=file)
    os.unlink(path)
    for table in ("pgbench_accounts", "bench_wide"):
        psql(url(port), f"VACUUM ANALYZE {table}")


def measure_stream(targets, sizes):
    """Wide rows thrown away as they come."""
    results = {}
    # Enough turns for the CPU clock's coarse ticks.
    turns = 1 if sizes.smoke else 4
    wide_bytes = sizes.wide_rows * WIDE_ROW_BYTES
    cases = (
        ("stream one key", "SELECT * FROM bench_wide WHERE aid = 1", wide_bytes / 2, turns),
        ("stream all rows", "SELECT * FROM bench_wide", wide_bytes, turns),
        (f"stream {sizes.series_rows} rows", SERIES.format(sizes.series_rows), sizes.series_rows * 50, 1),
    )
    for _ in range(sizes.rounds):
        for case, statement, least_bytes, turns in cases:
            for target in targets:
                wire = Wire(target.port, "shop")
                came = [wire.stream(statement)] if turns > 1 else []
                got = measured(target, lambda: came.extend(wire.stream(statement) for _ in range(turns)), 1)
                wire.close()
                if min(came) < least_bytes:
                    raise RuntimeError(f"{case} on {target.name}: only {min(came)} bytes came")
                megabytes = came[-1] * turns / 1e6
                got["mb_per_s"] *= megabytes
                if "cpu_ms_per_mb" in got:
                    got["cpu_ms_per_mb"] /= megabytes
                results.setdefault(case, {}).setdefault(target.name, []).append(got)
                say(f"  {case} {target.name:9} {got['mb_per_s']:7.0f} MB/s")
    return results


def account(aid, separator):
    """A row of pgbench_accounts, as pgbench -i fills it."""
    return f"{aid}{separator}1{separator}0{separator}{' ' * 84}\n"


def measure_copy(targets, sizes, folder):
    """A million rows into an empty table with its primary key."""
    results = {}
    files = {}
    for form, separator in (("text", "\t"), ("csv", ",")):
        files[form] = os.path.join(folder, f"rows.{form}")
        with open(files[form], "w") as file:
            file.writelines(account(aid, separator) for aid in range(1, sizes.copy_rows + 1))
    create = "CREATE TABLE bench_copy (aid int PRIMARY KEY, bid int, abalance int, filler char(84))"
    files["binary"] = os.path.join(folder, "rows.binary")
    psql(url(targets[0].port), "DROP TABLE IF EXISTS bench_copy")
    psql(url(targets[0].port), create)
    with open(files["text"]) as file:
        psql(url(targets[0].port), "COPY bench_copy FROM STDIN", stdin=file)
    with open(files["binary"], "wb") as file:
        words = ["psql", "-Xqc", "COPY bench_copy TO STDOUT (FORMAT binary)", url(targets[0].port)]
        subprocess.run(words, stdout=file, check=True, timeout=600)
    for _ in range(sizes.rounds):
        for form, path in files.items():
            for target in targets:
                psql(url(target.port), "DROP TABLE IF EXISTS bench_copy")
                psql(url(target.port), create)
                with open(path) as file:
                    def work():
                        told = psql(url(target.port), f"COPY bench_copy FROM STDIN (FORMAT {form})", stdin=file, quiet=False)
                        if told != [f"COPY {sizes.copy_rows}"]:
                            raise RuntimeError(f"COPY on {target.name} said {told}")

                    got = measured(target, work, os.path.getsize(path) / 1e6)
                got["rows_per_s"] = sizes.copy_rows / got["seconds"]
                results.setdefault(f"copy {form}", {}).setdefault(target.name, []).append(got)
                say(f"  copy {form} {target.name:9} {got['rows_per_s']:9.0f} rows/s")
    for target in targets:
        psql(url(target.port), "DROP TABLE IF EXISTS bench_copy")
    return results
