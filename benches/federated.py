"""Queries over all shards next to one Postgres that holds everything: `benches/run --only federated`.

`to slowest shard` is the time through pgbraid relative to that of the shards' own part of the query, asked of all of them at once on
connections of their own: of the slowest, in the same round, the one asked before or after the other in turn, as who comes first fills caches.
"""

import os
import re
import threading
import time

from servers import psql, say, url
from wire import Wire

SCHEMA = """DROP TABLE IF EXISTS bench_orders;
CREATE TABLE bench_orders (customer_id int, id int, status text, total numeric(12,2), created_at timestamptz, PRIMARY KEY (customer_id, id));
"""
ROWS = """INSERT INTO bench_orders SELECT x.n * 7919::bigint % {customers}, x.n,
(ARRAY['new', 'paid', 'sent', 'returned'])[1 + x.n * 31 % 4], (x.n * 7907::bigint % 100000) / 100.0, timestamptz '2026-01-01' + x.n * 17 % 7776000 * interval '1 s'
FROM generate_series({first}, {last}) x(n)"""
COLUMNS = "customer_id, id, status, total, created_at"
# Case, statement, whether every row is answered.
CASES = (
    ("unordered stream", "SELECT * FROM bench_orders", True),
    ("ordered stream", "SELECT * FROM bench_orders ORDER BY created_at", True),
    ("ordered stream by id", "SELECT * FROM bench_orders ORDER BY id", True),
    ("latest 100", "SELECT * FROM bench_orders ORDER BY created_at DESC LIMIT 100", False),
    ("any 100", "SELECT * FROM bench_orders LIMIT 100", False),
    ("count, sum, avg", "SELECT count(*), sum(total), avg(total) FROM bench_orders", False),
    ("GROUP BY status", "SELECT status, count(*), sum(total) FROM bench_orders GROUP BY status", False),
    ("top 10 customers", "SELECT customer_id, sum(total) FROM bench_orders GROUP BY customer_id ORDER BY 2 DESC LIMIT 10", False),
    ("by day, HAVING", "SELECT created_at::date, sum(total) FROM bench_orders GROUP BY 1 HAVING count(*) > 10 ORDER BY 1", False),
    ("count(distinct)", "SELECT count(DISTINCT customer_id) FROM bench_orders", False),
    ("window by status", "SELECT max(r) FROM (SELECT row_number() OVER (PARTITION BY status ORDER BY total) r FROM bench_orders) s", False),
    ("above the average", "SELECT count(*) FROM bench_orders WHERE total > (SELECT avg(total) FROM bench_orders)", False),
)
# What each shard has to do for a case.
PARTS = {
    "count, sum, avg": "SELECT count(*), sum(total), count(total) FROM bench_orders",
    "GROUP BY status": "SELECT status, count(*), sum(total) FROM bench_orders GROUP BY status",
    "top 10 customers": "SELECT customer_id, sum(total) FROM bench_orders GROUP BY customer_id ORDER BY 2 DESC LIMIT 10",
    "latest 100": "SELECT * FROM bench_orders ORDER BY created_at DESC LIMIT 100",
}


def shard_wires(folder):
    """Connections to the demo's shards, as its configuration has them."""
    with open(os.path.join(folder, "shards", "pgbraid.toml")) as file:
        found = re.findall(r'primary = "postgres://(\w+):(\w+)@127.0.0.1:(\d+)/', file.read())
    return [Wire(int(port), "shop", user=user, password=password) for user, password, port in found]


def slowest(wires, statement):
    """Seconds of the slowest, all asked at once."""
    taken = [0.0] * len(wires)

    def ask(at):
        begun = time.monotonic()
        wires[at].stream(statement)
        taken[at] = time.monotonic() - begun

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(wires))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(taken)


def fill(targets, sizes, path):
    """The rows, made by one Postgres and carried over by COPY."""
    direct = next(target for target in targets if target.name == "direct")
    for target in targets:
        for statement in SCHEMA.strip().split(";\n"):
            if statement.strip(";\n "):
                psql(url(target.port), statement)
    rows = sizes.federated_rows
    psql(url(direct.port), ROWS.format(customers=max(rows // 10, 1), first=1, last=rows))
    lines = psql(url(direct.port), f"COPY (SELECT {COLUMNS} FROM bench_orders) TO STDOUT")
    with open(path, "w") as file:
        file.writelines(line + "\n" for line in lines)
    for target in targets:
        if target is not direct:
            with open(path) as file:
                psql(url(target.port), "COPY bench_orders FROM STDIN", stdin=file)
        psql(url(target.port), "ANALYZE bench_orders")


def measure(targets, sizes, folder):
    """Seconds of each query; of streams, the gateway's CPU for each row."""
    targets = [target for target in targets if target.name in ("direct", "pgbraid")]
    say("loading orders")
    fill(targets, sizes, os.path.join(folder, "orders"))
    results = {}
    wires = shard_wires(folder) if any(target.name == "pgbraid" for target in targets) else []
    for turn in range(sizes.rounds + 1):
        for case, statement, streams in CASES:
            for target in targets:
                part = PARTS.get(case) if target.name == "pgbraid" else None
                own = slowest(wires, part) if part and turn % 2 else None
                wire = Wire(target.port, "shop")
                wire.socket.settimeout(600)
                before, start = target.cpu(), time.monotonic()
                wire.stream(statement)
                seconds, after = time.monotonic() - start, target.cpu()
                wire.close()
                own = slowest(wires, part) if part and not own else own
                # The first turn fills caches: of pages, plans and connections.
                if turn == 0 and not sizes.smoke:
                    continue
                got = {"ms": seconds * 1000}
                if own:
                    got["shard_ratio"] = seconds / own
                if streams:
                    got["rows_per_s"] = sizes.federated_rows / seconds
                if streams and target.process:
                    got["cpu_us_per_row"] = (sum(after) - sum(before)) / sizes.federated_rows * 1e6
                results.setdefault(f"federated: {case}", {}).setdefault(target.name, []).append(got)
                say(f"  {case} {target.name:9} {got['ms']:9.1f} ms")
    return results
