"""Short statements by key, by pgbench: TPS, latency and CPU per transaction; and how long clients wait for a server."""

import os
import re
import statistics
import subprocess

from servers import say, url
from target import percentiles

BY_KEY = "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
TRANSACTION = f"BEGIN;\n{BY_KEY}UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\nCOMMIT;\n"


def pgbench(target, sizes, mode, clients, script, folder):
    """One run; its numbers. pgbench's time runs while it connects, so on a busy machine many clients need more of it."""
    seconds = sizes.seconds + clients // 256
    for _ in range(3):
        got = pgbench_once(target, sizes, mode, clients, script, folder, seconds)
        if got:
            return got
        seconds *= 2
    raise RuntimeError(f"pgbench -M {mode} -c {clients} on {target.name} does no transaction within {seconds // 2} s")


def pgbench_once(target, sizes, mode, clients, script, folder, seconds):
    """One run; its numbers, or None if it spent all its time connecting."""
    log = os.path.join(folder, "latency")
    database = target.session_database if mode == "prepared" else "shop"
    words = [
        "pgbench", "-n", "-M", mode, "-c", str(clients), "-j", str(min(clients, 2)), "-f", script, "--log", f"--log-prefix={log}",
        "-P", "1",
    ]
    words += ["-t", "25"] if sizes.smoke else ["-T", str(seconds), "--sampling-rate=0.1"]
    samples = []
    process = subprocess.Popen(words + [url(target.port, database)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    before = target.cpu()
    errors = []
    for line in process.stderr:
        progress = re.match(r"progress: ([\d.]+) s, ([\d.]+) tps", line)
        if progress:
            samples.append((float(progress.group(1)), float(progress.group(2)), target.cpu()))
        else:
            errors.append(line)
    after = target.cpu()
    out = process.stdout.read()
    done = re.search(r"actually processed: (\d+)", out)
    failed = re.search(r"failed transactions: (\d+)", out)
    if process.wait() == 0 and done and int(done.group(1)) == 0:
        return None
    if process.returncode or not done or (failed and failed.group(1) != "0"):
        raise RuntimeError(f"pgbench -M {mode} -c {clients} on {target.name}: {''.join(errors)[-600:]} {out[-300:]}")
    latencies = []
    for name in os.listdir(folder):
        if name.startswith("latency."):
            with open(os.path.join(folder, name)) as file:
                latencies += [int(line.split()[2]) for line in file]
            os.unlink(os.path.join(folder, name))
    latencies.sort()
    got = {"tps": float(re.search(r"tps = ([\d.]+) \(without", out).group(1))}
    if latencies:
        got["p50_ms"] = latencies[len(latencies) // 2] / 1000
        got["p99_ms"] = latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)] / 1000
    if target.process:
        # The first second of work may still have some connections' set-up in it.
        samples = [sample for sample in samples if sample[1] > 0]
        if len(samples) > 1:
            count = sum((samples[n][0] - samples[n - 1][0]) * samples[n][1] for n in range(1, len(samples)))
            before, after = samples[0][2], samples[-1][2]
        else:
            count = int(done.group(1))
        user, system = after[0] - before[0], after[1] - before[1]
        got["cpu_us"] = (user + system) / count * 1e6
        got["cpu_user_us"] = user / count * 1e6
    return got


def measure(targets, sizes, folder, cases):
    """All cases, round by round."""
    results = {}
    # Poolers log in to servers one after the other; that is not what is measured.
    for clients in sorted({case[2] for case in cases})[-1:]:
        for target in targets:
            for database in {"shop", target.session_database}:
                words = ["pgbench", "-n", "-c", str(clients), "-j", "2", "-t", "1", "-f", cases[0][3], url(target.port, database)]
                done = subprocess.run(words, capture_output=True, text=True, timeout=120)
                if done.returncode:
                    raise RuntimeError(f"{clients} clients cannot connect to {target.name}: {done.stderr[-600:]}")
    for round_ in range(sizes.rounds):
        for part, mode, clients, script in cases:
            for target in targets:
                got = pgbench(target, sizes, mode, clients, script, folder)
                results.setdefault(f"{part} {mode} {clients}", {}).setdefault(target.name, []).append(got)
                say(f"  round {round_ + 1}: {part} {mode:8} {clients:4} clients {target.name:9} {got['tps']:9.0f} TPS")
    return results


def measure_stampede(targets, sizes, folder):
    """How long transactions take when most of each is waiting for a server, and whether some clients wait longer than others."""
    results = {}
    script, log = os.path.join(folder, "stampede.pgbench"), os.path.join(folder, "stampede")
    with open(script, "w") as file:
        file.write(f"\\set aid random(1, {sizes.accounts})\n{BY_KEY}")
    for _ in range(sizes.rounds):
        for target in targets:
            if target.process is None:
                continue
            words = ["pgbench", "-n", "-M", "extended", "-c", str(sizes.stampede_clients), "-j", "2", "-f", script, "--log", f"--log-prefix={log}"]
            words += ["-t", str(sizes.stampede_transactions), url(target.port)]
            done = subprocess.run(words, capture_output=True, text=True, timeout=300)
            if done.returncode:
                raise RuntimeError(f"stampede on {target.name}: {done.stderr[-600:]}")
            waits = {}
            for name in os.listdir(folder):
                if name.startswith("stampede."):
                    path = os.path.join(folder, name)
                    if path != script:
                        with open(path) as file:
                            for line in file:
                                client, _, micros = line.split()[:3]
                                waits.setdefault((name, client), []).append(int(micros))
                        os.unlink(path)
            got = {"tps": float(re.search(r"tps = ([\d.]+) \(without", done.stdout).group(1))}
            got.update(percentiles([micros for client in waits.values() for micros in client]))
            means = sorted(statistics.mean(client) for client in waits.values())
            got["slowest"] = means[-1] / statistics.median(means)
            results.setdefault(target.name, []).append(got)
            say(f"  stampede {target.name:9} p99 {got['p99_ms']:.1f} ms")
    return {f"stampede {sizes.stampede_clients} clients": results}
