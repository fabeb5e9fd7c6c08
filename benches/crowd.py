"""Many clients: the memory of those that wait, and how long the others wait beside them."""

import multiprocessing
import os
import re
import selectors
import shutil
import signal
import struct
import time

from servers import as_postgres, say, start, wait_for
from target import Target, percentiles
from wire import Wire


def measure_idle(targets, sizes):
    """Memory of clients that asked once and wait."""
    results = {}
    for target in targets:
        if target.process is None:
            continue
        before = target.resident_bytes()
        wires = []
        for _ in range(sizes.idle_clients):
            wire = Wire(target.port, "shop")
            wire.stream("SELECT abalance FROM pgbench_accounts WHERE aid = 1")
            wires.append(wire)
        got = {"rss_kib_per_client": (target.resident_bytes() - before) / len(wires) / 1024, "rss_mib": target.resident_bytes() / 2**20}
        for wire in wires:
            wire.close()
        results[target.name] = [got]
        say(f"  {len(wires)} idle clients {target.name:9} {got['rss_kib_per_client']:.1f} KiB each")
    return {f"idle {sizes.idle_clients} clients": results}


def be_crowd(source, port, count, active, seconds, pipe):
    """In a process of its own: so many clients from one loopback address, all of which ask once and some all the time."""
    statement = b"SELECT abalance FROM pgbench_accounts WHERE aid = %d\0"
    wires = [Wire(port, "shop", source=source) for _ in range(count)]
    for nth, wire in enumerate(wires):
        wire.stream((statement[:-1] % nth).decode())
    pipe.send(count)
    pipe.recv()
    selector, asked, micros = selectors.EpollSelector(), {}, []
    for wire in wires[:active]:
        wire.socket.setblocking(False)
        selector.register(wire.socket, selectors.EVENT_READ)
    end = time.monotonic() + seconds
    ask = lambda sock: (asked.__setitem__(sock, time.monotonic()), sock.send(b"Q" + struct.pack("!i", len(text) + 4) + text))
    for nth, wire in enumerate(wires[:active]):
        text = statement % nth
        ask(wire.socket)
    while asked:
        for key, _ in selector.select(30):
            # The answer is far shorter than a packet.
            if not key.fileobj.recv(65536).endswith(b"Z\0\0\0\x05I"):
                raise RuntimeError("an answer came in pieces or was none")
            now = time.monotonic()
            micros.append(int((now - asked.pop(key.fileobj)) * 1e6))
            if now < end:
                text = statement % (len(micros) % 1000)
                ask(key.fileobj)
    pipe.send(micros)
    pipe.recv()


def start_beside(target, folder, port, binary):
    """One more gateway of the same kind, before the same servers."""
    if target.name == "pgbouncer":
        with open(os.path.join(folder, "pgbouncer.ini")) as file:
            config = re.sub(r"(?m)^listen_port = .*$", f"listen_port = {port}", file.read())
        path = os.path.join(folder, f"pgbouncer-{port}.ini")
        words = as_postgres() + [shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin"), path]
    else:
        shards = os.path.join(folder, "shards")
        with open(os.path.join(shards, "pgbraid.toml")) as file:
            config = re.sub(r'(?m)^listen = .*$', f'listen = "127.0.0.1:{port}"', file.read())
        config = re.sub(r'(?m)^http_listen = .*\n', "", config)
        path = os.path.join(shards, f"beside-{port}.toml")
        words = [binary, "serve", "--config", path]
    with open(path, "w") as file:
        file.write(config)
    os.chmod(path, 0o644)
    log = open(os.path.join(folder, f"beside-{port}.log"), "w")
    process = start(words, log, signal.SIGTERM if target.name == "pgbraid" else signal.SIGINT, cwd=folder)
    wait_for(port, process, f"{target.name} on port {port}")
    return Target(target.name, port, process)


def measure_crowd(targets, sizes, folder, binary):
    """Memory and latency with a crowd of clients of which few are active."""
    results = {}
    count = -(-sizes.crowd_clients // sizes.crowd_share)
    # Past the ports of the targets themselves.
    free = max(target.port for target in targets) + 10
    for target in targets:
        if target.process is None:
            continue
        gateways = [target]
        for _ in range(1, count):
            gateways.append(start_beside(target, folder, free, binary))
            free += 1
        before = sum(gateway.resident_bytes() for gateway in gateways)
        crowd = []
        # Two processes of clients for each, as these have descriptors, too.
        ends = [gateway for gateway in gateways for _ in range(2)]
        for nth, gateway in enumerate(ends):
            ours, theirs = multiprocessing.Pipe()
            clients, active = (total * (nth + 1) // len(ends) - total * nth // len(ends) for total in (sizes.crowd_clients, sizes.crowd_active))
            work = (f"127.0.1.{nth + 1}", gateway.port, clients, active, sizes.crowd_seconds, theirs)
            process = multiprocessing.get_context("fork").Process(target=be_crowd, args=work, daemon=True)
            process.start()
            theirs.close()
            crowd.append((process, ours))
        clients = sum(ours.recv() for _, ours in crowd)
        resident = lambda: sum(gateway.resident_bytes() for gateway in gateways)
        got = {"gateways": count, "clients": clients, "rss_kib_per_client": (resident() - before) / clients / 1024}
        for _, ours in crowd:
            ours.send("go")
        micros = [value for _, ours in crowd for value in ours.recv()]
        got.update({"tps": len(micros) / sizes.crowd_seconds, **percentiles(micros), "rss_mib": resident() / 2**20})
        for process, ours in crowd:
            ours.send("end")
            process.join()
        results[target.name] = [got]
        say(f"  crowd of {clients} {target.name:9} {got['rss_kib_per_client']:.1f} KiB each, p99 {got['p99_ms']:.1f} ms")
    return {"crowd": results}
