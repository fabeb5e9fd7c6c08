#!/usr/bin/env bash
# A release build for production, optimized by a profile of the hot path; what `make release` runs.
#
# Builds twice: with counters, which then serves the benchmarks for a minute, and with what was counted. The code of a short
# statement then lies together, and takes about a third less of the gateway's own time: see benches/results.
# Prints the path of the binary as its last line.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}/profiled
mkdir -p "$target"
target=$(realpath "$target")
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata

say() { printf 'release: %s\n' "$*" >&2; }

if [ ! -x "$profdata" ]; then
    say "installing Rust's llvm-tools"
    rustup component add llvm-tools >&2 || true
fi
if [ ! -x "$profdata" ]; then
    say "llvm-profdata is missing; it comes with: rustup component add llvm-tools"
    exit 1
fi

# With --target, build scripts and procedural macros are built without these flags.
build() { RUSTFLAGS="${RUSTFLAGS:-} $1" cargo build --release --locked --bin pgbraid --target "$host" --target-dir "$target" >&2; }
built=$target/$host/release/pgbraid

say "1 of 3: building with counters"
build "-Cprofile-generate=$target/counts"

# The same sources and compiler make the same binary: what was counted with it is still true.
counted=$target/$(sha256sum "$built" | cut -c1-16).profdata
if [ ! -s "$counted" ]; then
    say "2 of 3: counting"
    rm -rf "$target/counts" "$target"/*.profdata
    cp "$built" "$target/pgbraid-counting"
    serve() { benches/run --targets pgbraid --binary "$target/pgbraid-counting" --out "$target/counting" "$@" >&2; }
    serve --only by-key,transaction --clients 32 --rounds 1 --seconds 3
    # What is not counted at all is made small instead of fast.
    serve --smoke --only stream,copy,stampede,federated
    "$profdata" merge --output "$counted" "$target"/counts/*.profraw
else
    say "2 of 3: counted before"
fi

say "3 of 3: building with the counts"
build "-Cprofile-use=$counted"
echo "$built"
