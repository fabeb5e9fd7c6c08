"""TPC-H's 22 queries through pgbraid over four shards, as ratios to one Postgres with the same rows: `benches/run --only tpch`.

Twice: with parts and suppliers on every shard (order), and with each table by its own key (own), where most joins are between shards.
Of each query the best of the rounds counts, after one that warms up. `plan us` is the gateway's CPU time for a Parse and a Sync of the
query's text when it has not seen it before (the least of several), `known us` when it has: what is between them is planning. Rows and queries come from `benches/tpch.rs`.
"""

import json
import math
import os
import shutil
import struct
import subprocess
import tempfile
import time

from servers import COPIED_SETTINGS, ROOT, postgres_ids, psql, say, start_direct, start_pgbraid, url
from wire import Wire

SHARDS = 4
LAYOUTS = ("order", "own")
QUERIES = range(1, 23)


def generator():
    """The program that knows rows and queries."""
    words = ["cargo", "build", "--release", "--bench", "tpch", "--message-format=json-render-diagnostics"]
    done = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    built = [json.loads(line) for line in done.stdout.splitlines() if '"executable":"' in line]
    # The gateway is built too, for tests and benchmarks to start.
    return next(one["executable"] for one in built if one["target"]["name"] == "tpch")


def load(server, program, rows):
    """Tables, rows from files in the folder `rows`, indexes, statistics."""
    for statement in output(program, "schema").split(";\n"):
        if statement.strip():
            psql(server, statement)
    for table in output(program, "tables").split():
        with open(os.path.join(rows, table)) as file:
            psql(server, f"COPY {table} FROM STDIN (DELIMITER '|')", stdin=file)
        psql(server, f"ANALYZE {table}")
    for index in output(program, "indexes").splitlines():
        psql(server, f"CREATE INDEX ON {index}")


def output(program, *words):
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout


def best_seconds(port, query, rounds):
    """Of several; a query is not given more rounds than fit into ten seconds."""
    wire = Wire(port, "shop")
    wire.socket.settimeout(600)
    wire.stream(query)
    best, begun = math.inf, time.monotonic()
    for _ in range(rounds):
        at = time.monotonic()
        wire.stream(query)
        best = min(best, time.monotonic() - at)
        if time.monotonic() - begun > 10:
            break
    wire.close()
    return best


def cpu_us(pid):
    """CPU time of a process; *source*: the kernel's documentation, schedstats."""
    spent = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            spent += int(file.read().split()[0])
    return spent / 1000


def parse_us(port, pid, query, times=20):
    """The gateway's CPU for a Parse: of a text that is new each time, and of one that is known."""
    wire = Wire(port, "shop")
    least = {}
    for nth in range(2 * times):
        name = "known_us" if nth >= times else "plan_us"
        text = query if nth >= times else f"{query} -- {nth} {time.time_ns()}"
        body = b"\0" + text.encode() + b"\0\0\0"
        before = cpu_us(pid)
        wire.socket.sendall(b"P" + struct.pack("!i", len(body) + 4) + body + b"S\0\0\0\4")
        while wire.message()[0] != b"Z":
            pass
        least[name] = min(least.get(name, math.inf), cpu_us(pid) - before)
    wire.close()
    return least


def servers_folder(name, folder):
    """A folder that servers can write to."""
    place = tempfile.mkdtemp(prefix=f"tpch-{name}-", dir=folder)
    os.chmod(place, 0o755)
    if os.getuid() == 0:
        os.chown(place, *postgres_ids())
    return place


def measure(folder, first_port, binary, scale, rounds, smoke):
    """Case -> target -> runs with their metrics, as the other parts give them."""
    program = generator()
    ports, pids, settings = {}, {}, {}
    for nth, layout in enumerate(LAYOUTS):
        port = first_port + 4 + 2 * nth
        place = servers_folder(layout, folder)
        process = start_pgbraid(place, port, binary, SHARDS, output(program, "config", layout))
        pids[f"pgbraid {layout}"] = process.pid
        ports[f"pgbraid {layout}"] = port
        settings = settings or {name: psql(url(port), f"SHOW {name}")[0] for name in COPIED_SETTINGS}
    place = servers_folder("direct", folder)
    ports["direct"] = first_port + 8
    start_direct(place, ports["direct"], settings)
    rows = tempfile.mkdtemp(prefix="tpch-rows", dir=folder)
    output(program, "rows", rows, str(scale))
    for name, port in ports.items():
        say(f"  loading TPC-H at scale {scale}: {name}")
        load(url(port), program, rows)
    shutil.rmtree(rows)
    results, ratios = {}, {name: [] for name in ports}
    for number in QUERIES:
        query = output(program, "query", str(number))
        seconds = {name: best_seconds(port, query, 1 if smoke else rounds) for name, port in ports.items()}
        runs = {}
        for name in sorted(ports):
            ratio = seconds[name] / seconds["direct"]
            ratios[name].append(ratio)
            runs[name] = [{"best_ms": seconds[name] * 1000, "ratio": ratio}]
            if name in pids:
                runs[name][0].update(parse_us(ports[name], pids[name], query))
        results[f"TPC-H {number}"] = runs
        say(f"  TPC-H {number:2} " + ", ".join(f"{name} {seconds[name] * 1000:.0f} ms" for name in sorted(ports)))
    mean = lambda values: math.exp(sum(math.log(value) for value in values) / len(values))
    results["TPC-H geometric mean, worst"] = {
        name: [{"ratio": mean(of), "worst_ratio": max(of)}] for name, of in sorted(ratios.items())
    }
    return results
