"""What a commit on two shards costs beside one on one."""

import os
import re
import time

from servers import psql, say
from wire import Wire


def measure(targets, sizes, folder):
    """What a commit on two shards costs beside one on one, by a single client, with fsync on."""
    port = [target.port for target in targets if target.name == "pgbraid"]
    if not port:
        return {}
    with open(os.path.join(folder, "shards", "pgbraid.toml")) as file:
        shards = re.findall(r'^primary = "(.*)"$', file.read(), re.M)
    for shard in shards:
        psql(shard, "ALTER SYSTEM SET fsync = on")
        psql(shard, "SELECT pg_reload_conf()")
    rows = [psql(shard, "SELECT aid FROM pgbench_accounts ORDER BY aid LIMIT 2") for shard in shards[:2]]
    pairs = {"one shard": rows[0], "two shards": [rows[0][0], rows[1][0]]}
    turns = 20 if sizes.smoke else 500
    results = {}
    before = flushes(shards, sizes)
    for round_ in range(sizes.rounds):
        for case, pair in pairs.items():
            update = "; ".join(f"UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = {aid}" for aid in pair)
            wire = Wire(port[0], "shop")
            begun = time.monotonic()
            for _ in range(turns):
                wire.stream(f"BEGIN; {update}; COMMIT")
            seconds = time.monotonic() - begun
            wire.close()
            got = {"ms_per_tx": seconds / turns * 1e3, "seconds": seconds}
            if round_ == 0:
                # It takes long, and is the same in each round.
                after = flushes(shards, sizes)
                got["flushes"], before = (after - before) / turns, after
            results.setdefault("commit", {}).setdefault(case, []).append(got)
            say(f"  commit on {case}: {got['ms_per_tx']:.2f} ms")
    return results


def flushes(shards, sizes):
    """Flushes of WAL on all shards. Servers tell them when they have been idle for ten seconds. Source: pgstat.c, PGSTAT_IDLE_INTERVAL."""
    time.sleep(0.1 if sizes.smoke else 10.5)
    told = [psql(shard, "SELECT wal_sync FROM pg_stat_wal") for shard in shards]
    return sum(int(line) for lines in told for line in lines)
