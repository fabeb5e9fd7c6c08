"""Servers that are measured: started here, ended here by their process id; and psql, to talk to them."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time

from wire import Wire

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVERS_MAX = 40
START_SECONDS_MAX = 60
# What decides a Postgres' speed here, copied from a shard to the direct Postgres.
COPIED_SETTINGS = (
    "shared_buffers", "fsync", "synchronous_commit", "full_page_writes", "wal_level", "max_wal_size", "checkpoint_timeout",
    "wal_buffers", "autovacuum", "max_parallel_workers_per_gather", "wal_compression", "work_mem", "maintenance_work_mem",
)

EXTRA = """
[limits]
clients_max = 60000
[tables.pgbench_accounts]
key = "aid"
[tables.bench_wide]
key = "aid"
[tables.bench_copy]
key = "aid"
[tables.bench_orders]
key = "customer_id"
"""

_processes = []


def say(text=""):
    """Progress, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def stop_all():
    """Ends what was started, last first."""
    while _processes:
        process, end = _processes.pop()
        if process.poll() is None:
            process.send_signal(end)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start(words, log, end, **options):
    """Starts a server in a session of its own; its log is a file."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=options.pop("stdout", log), stderr=log, start_new_session=True, **options
    )
    _processes.append((process, end))
    return process


def as_postgres():
    """Words before a command that must not run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []


def postgres_bin(tool):
    """The newest installed PostgreSQL's tool."""
    base = "/usr/lib/postgresql"
    versions = sorted(os.listdir(base), key=float, reverse=True) if os.path.isdir(base) else []
    for version in versions:
        path = f"{base}/{version}/bin/{tool}"
        if os.path.exists(path):
            return path
    found = shutil.which(tool)
    if not found:
        sys.exit(f"{tool} is missing: apt-get install postgresql")
    return found


def url(port, database="shop"):
    return f"postgres://app:app@127.0.0.1:{port}/{database}"


def psql(target, script, stdin=None, quiet=True):
    """Runs statements; rows as lines."""
    words = ["psql", "-XqAt" if quiet else "-XAt", "-v", "ON_ERROR_STOP=1", "-c", script, target]
    done = subprocess.run(words, stdin=stdin or subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{script[:80]}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def wait_for(port, process, what):
    """Until something listens there."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with status {process.returncode}")
        try:
            Wire(port, "shop").close()
            return
        except (OSError, EOFError, RuntimeError):
            time.sleep(0.1)
    raise RuntimeError(f"{what} did not start within {START_SECONDS_MAX} s")


def start_direct(folder, port, settings):
    """One Postgres."""
    data, secret = os.path.join(folder, "direct"), os.path.join(folder, "secret")
    with open(secret, "w") as file:
        file.write("app\n")
    os.chmod(secret, 0o644)
    words = [postgres_bin("initdb"), "-D", data, "-U", "app", f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]
    subprocess.run(as_postgres() + words, check=True, capture_output=True, cwd=folder)
    given = {
        "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 1000,
        "logging_collector": "off", **settings,
    }
    words = [postgres_bin("postgres"), "-D", data] + [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    log = open(os.path.join(folder, "direct.log"), "w")
    process = start(as_postgres() + words, log, signal.SIGINT, cwd=folder)
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            psql(url(port, "postgres"), "CREATE DATABASE shop")
            return process
        except RuntimeError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the direct Postgres did not start: {error}") from error
            time.sleep(0.2)


def start_pgbouncer(folder, port, direct_port):
    """PgBouncer before it: database shop with transaction pooling, session with session pooling."""
    users, ini = os.path.join(folder, "users"), os.path.join(folder, "pgbouncer.ini")
    with open(users, "w") as file:
        file.write('"app" "app"\n')
    server = f"host=127.0.0.1 port={direct_port} dbname=shop"
    with open(ini, "w") as file:
        file.write(
            f"[databases]\nshop = {server} pool_mode=transaction pool_size={SERVERS_MAX}\n"
            f"session = {server} pool_mode=session pool_size=300\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
            f"auth_file = {users}\nmax_client_conn = 60000\nlogfile = {folder}/pgbouncer.log\n"
            "log_connections = 0\nlog_disconnections = 0\nignore_startup_parameters = extra_float_digits\n"
        )
    for path in (users, ini):
        os.chmod(path, 0o644)
    binary = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not binary:
        sys.exit("pgbouncer is missing: apt-get install pgbouncer")
    log = open(os.path.join(folder, "pgbouncer.out"), "w")
    process = start(as_postgres() + [binary, ini], log, signal.SIGINT, cwd=folder)
    wait_for(port, process, "PgBouncer")
    return process


def postgres_ids():
    """User and group of what must not run as root."""
    owner = pwd.getpwnam("postgres")
    return owner.pw_uid, owner.pw_gid


def start_pgbraid(folder, port, binary, shards, config=EXTRA):
    """The gateway and its shards, as everyone starts it."""
    extra = os.path.join(folder, "extra.toml")
    with open(extra, "w") as file:
        file.write(config)
    log = open(os.path.join(folder, "pgbraid.log"), "w")
    words = [
        binary, "demo", "--empty", "--shards", str(shards), "--port", str(port), "--http-port", str(port + 1), "--config", extra,
        "--dir", os.path.join(folder, "shards"),
    ]
    process = start(words, log, signal.SIGTERM, stdout=subprocess.PIPE, text=True)
    signal.signal(signal.SIGALRM, lambda *_: process.kill())
    signal.alarm(START_SECONDS_MAX)
    for line in process.stdout:
        if line.startswith("ready "):
            break
    signal.alarm(0)
    if process.poll() is not None:
        raise RuntimeError("pgbraid demo did not become ready: " + open(log.name).read()[-2000:])
    return process


def build():
    """The release build; its path."""
    say("cargo build --release (minutes when it is the first time)")
    subprocess.run(["cargo", "build", "--release", "--bin", "pgbraid"], cwd=ROOT, check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "release/pgbraid")
