"""What comes of a run, and on which machine."""

import datetime
import os
import statistics
import subprocess

from servers import ROOT, postgres_bin


def machine():
    """What the numbers were measured on."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2**20
    pgbouncer = subprocess.run(["/usr/sbin/pgbouncer", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cpu": model, "cores": os.cpu_count(), "memory_gib": round(memory), "kernel": os.uname().release,
        "postgres": subprocess.run([postgres_bin("postgres"), "--version"], capture_output=True, text=True).stdout.strip(),
        "pgbouncer": pgbouncer, "commit": commit,
    }


def medians(results):
    """Case -> target -> metric -> median of the rounds."""
    return {
        case: {target: {metric: statistics.median(run[metric] for run in runs if metric in run) for metric in runs[0]} for target, runs in targets.items()}
        for case, targets in results.items()
    }

COLUMNS = (
    ("gateways", "gateways", "{:.0f}"), ("clients", "clients", "{:.0f}"),
    ("best_ms", "best ms", "{:.0f}"), ("ratio", "ratio", "{:.2f}"), ("shard_ratio", "to slowest shard", "{:.2f}"), ("worst_ratio", "worst ratio", "{:.2f}"),
    ("plan_us", "plan us", "{:.0f}"), ("known_us", "known us", "{:.0f}"),
    ("tps", "TPS", "{:.0f}"), ("cpu_us", "CPU us/tx", "{:.1f}"), ("cpu_user_us", "user us", "{:.1f}"), ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"), ("max_ms", "max ms", "{:.1f}"), ("slowest", "slowest client", "{:.2f}"), ("mb_per_s", "MB/s", "{:.0f}"), ("rows_per_s", "rows/s", "{:.0f}"),
    ("ms_per_tx", "ms/tx", "{:.2f}"), ("flushes", "WAL flushes/tx", "{:.2f}"),
    ("ms", "ms", "{:.1f}"), ("cpu_us_per_row", "CPU us/row", "{:.3f}"), ("cpu_ms_per_mb", "CPU ms/MB", "{:.2f}"), ("rss_kib_per_client", "KiB/client", "{:.1f}"), ("rss_mib", "RSS MiB", "{:.1f}"),
)


def table(head, results, rounds, amount):
    """The table; in brackets the ratio to PgBouncer or, for COPY, to direct."""
    lines = [f"{name}: {value}" for name, value in head.items()]
    lines += [f"medians of {rounds} interleaved rounds, pgbench runs of {amount}; in brackets: ratio to PgBouncer = 1, for COPY and federated to direct = 1, for commits to one shard = 1", ""]
    for case, targets in results.items():
        present = [column for column in COLUMNS if any(column[0] in metrics for metrics in targets.values())]
        lines.append(f"{case:30}" + "".join(f"{title:>20}" for _, title, _ in present))
        # Of COPY, what is promised is a share of a direct one's speed.
        base = targets.get("direct" if case.startswith(("copy", "federated")) else "one shard" if case == "commit" else "pgbouncer", {})
        for target, metrics in targets.items():
            cells = ""
            for metric, _, form in present:
                cell = form.format(metrics[metric]) if metric in metrics else "-"
                if metric in metrics and base.get(metric):
                    cell += f" ({metrics[metric] / base[metric]:.2f})"
                cells += f"{cell:>20}"
            lines.append(f"  {target:28}{cells}")
        lines.append("")
    return "\n".join(lines)
