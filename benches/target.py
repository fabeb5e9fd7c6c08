"""What is measured: a gateway, or one Postgres; its CPU, its memory, and how long work takes it."""

import os
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Target:
    """What is measured: how to reach it, and whose CPU and memory count."""

    def __init__(self, name, port, process=None, session_database="shop"):
        self.name, self.port, self.process, self.session_database = name, port, process, session_database

    def pids(self):
        """The gateway's process, and a child of the same name if it runs in one."""
        if self.process is None:
            return []
        pids = [self.process.pid]
        for child in os.listdir("/proc"):
            if child.isdigit():
                try:
                    name, rest = stat_of(child)
                except OSError:
                    continue
                if name == self.name and int(rest[1]) == self.process.pid:
                    pids.append(int(child))
        return pids

    def cpu(self):
        """(user, system) seconds so far: their sum is exact, the user's share of it is counted in ticks."""
        user = system = exact = 0
        for pid in self.pids():
            _, rest = stat_of(pid)
            user, system = user + int(rest[11]) / TICKS_PER_SECOND, system + int(rest[12]) / TICKS_PER_SECOND
            for thread in os.listdir(f"/proc/{pid}/task"):
                try:
                    with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                        exact += int(file.read().split()[0]) / 1e9
                except OSError:
                    # The thread has ended, or this kernel does not tell.
                    continue
        return user, (exact or user + system) - user

    def resident_bytes(self):
        """Resident memory."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))
        return total


def stat_of(pid):
    """Name and the fields after it of /proc/PID/stat."""
    with open(f"/proc/{pid}/stat") as file:
        head, _, rest = file.read().rpartition(")")
    return head.partition("(")[2], rest.split()


def measured(target, work, megabytes):
    """Runs work once; speed and CPU by megabyte."""
    before, start_ = target.cpu(), time.monotonic()
    work()
    seconds, after = time.monotonic() - start_, target.cpu()
    got = {"mb_per_s": megabytes / seconds, "seconds": seconds}
    if target.process:
        got["cpu_ms_per_mb"] = (sum(after) - sum(before)) / megabytes * 1000
    return got


def percentiles(micros):
    """Of latencies, in milliseconds."""
    micros.sort()
    return {"p50_ms": micros[len(micros) // 2] / 1000, "p99_ms": micros[len(micros) * 99 // 100] / 1000, "max_ms": micros[-1] / 1000}
