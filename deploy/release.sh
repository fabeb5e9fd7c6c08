#!/usr/bin/env bash
# A release build for production, optimized by a profile of the hot path; what `make release` runs.
#
# Builds twice: with counters, which then serves the benchmarks for a minute, and with what was counted. Where LLVM's BOLT is, the
# result serves them again, and its code is laid out in the order in which it runs. A short statement meets caches that the kernel and
# PostgreSQL have emptied, so that it costs the lines of code it touches: see benches/results for what either step gains.
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

# BOLT's counters are of x86-64 alone. Debian: bolt-16.
bolt=
if [ "${host%%-*}" = x86_64 ]; then
    bolt=$(compgen -c llvm-bolt | grep -Ex 'llvm-bolt(-[0-9]+)?' | sort -V | tail -n 1) || true
    # It looks for its runtime library beside itself.
    bolt=${bolt:+$(readlink -f "$(command -v "$bolt")")}
fi
steps=$([ -n "$bolt" ] && echo 5 || echo 3)
[ -n "$bolt" ] || say "llvm-bolt is missing (Debian: bolt-16): the code will not be laid out anew"

counting=$target/pgbraid-counting
serve() { benches/run --out "$target/counting" "$@" >&2; }
# Has the benchmarks use the binary that counts.
count() {
    serve --binary "$counting" --targets pgbraid --only by-key,transaction --clients 32 --rounds 1 --seconds 3
    # What is not counted at all is made small instead of fast.
    serve --binary "$counting" --targets direct,pgbraid --smoke --only stream,copy,stampede,federated
}

say "1 of $steps: building with counters"
build "-Cprofile-generate=$target/counts"

# The same sources and compiler make the same binary: what was counted with it is still true.
counted=$target/$(sha256sum "$built" | cut -c1-16).profdata
if [ ! -s "$counted" ]; then
    say "2 of $steps: counting"
    rm -rf "$target/counts" "$target"/*.profdata
    cp "$built" "$counting"
    count
    "$profdata" merge --output "$counted" "$target"/counts/*.profraw
else
    say "2 of $steps: counted before"
fi

say "3 of $steps: building with the counts"
build "-Cprofile-use=$counted${bolt:+ -Clink-arg=-Wl,--emit-relocs}"
if [ -z "$bolt" ]; then
    echo "$built"
    exit
fi

laid_out=$target/$(sha256sum "$built" | cut -c1-16).laid-out
if [ -x "$laid_out" ]; then
    say "4 and 5 of $steps: laid out before"
    echo "$laid_out"
    exit
fi

say "4 of $steps: counting branches"
rm -rf "$target/branches"
mkdir "$target/branches"
: >"$target/bolt.log"
plain=$target/pgbraid-plain
objcopy --strip-debug "$built" "$plain"
# Only Rust's functions: those of C, which GCC has split into hot and cold parts, it cannot rewrite.
lay_out() { "$bolt" "$plain" --funcs='_ZN.*,_R.*' "$@" >>"$target/bolt.log"; }
lay_out --instrument --instrumentation-file="$target/branches/counted" --instrumentation-file-append-pid -o "$counting"
count

say "5 of $steps: laying out the code"
"$(dirname "$bolt")/merge-fdata" "$target"/branches/counted.* >"$target/branches/all"
rm -f "$target"/*.laid-out
lay_out --data "$target/branches/all" --reorder-blocks=ext-tsp --reorder-functions=hfsort+ --split-functions --split-all-cold --split-eh \
    -o "$target/pgbraid"
serve --binary "$target/pgbraid" --targets direct,pgbraid --smoke --only by-key,transaction,stream,copy,stampede,federated
mv "$target/pgbraid" "$laid_out"
echo "$laid_out"
