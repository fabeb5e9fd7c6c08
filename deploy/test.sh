#!/usr/bin/env bash
# The whole test suite, with a summary at the end; what `make test` runs. Exit status 0 if all passed.
#
# deploy/test.sh [STEP...]    steps: format lint test (the default), and drivers, which 'test' runs too
set -uo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
logs=$target/test-logs
mkdir -p "$logs"
summary=()
failed=0

step() { # step NAME COMMAND...
    local name=$1 started=$SECONDS result=passed
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" 2>&1 | tee "$logs/$name.log"
    if [ "${PIPESTATUS[0]}" -ne 0 ]; then
        result=FAILED
        failed=1
    fi
    summary+=("$(printf '%-8s %-6s %4d s  %s' "$name" "$result" $((SECONDS - started)) "$(counts "$logs/$name.log")")")
}

counts() { # what the tests in a log said, added up
    awk '
        /^test result:/ || /^[0-9]+ passed, [0-9]+ failed/ {
            # Of the drivers, the last line is the total.
            if (!/^test/) passed = failed = 0
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) passed += $(i - 1)
                if ($i ~ /^failed/) failed += $(i - 1)
                if ($i ~ /^ignored/) ignored += $(i - 1)
            }
            seen = 1
        }
        /^test .* \.\.\. FAILED/ { names = names " " $2 }
        END {
            if (seen) printf "%d passed, %d failed%s", passed, failed, ignored ? ", " ignored " ignored" : ""
            if (names) printf ":%s", names
        }' "$1"
}

# The drivers that people use, against shards and a gateway of their own.
drivers() {
    local ready status gateway dir shard
    cargo build --locked --bin pgbraid || return 1
    dir=$(mktemp -d -u)
    coproc GATEWAY {
        exec "$target/debug/pgbraid" demo --empty --shards 2 --port 0 --http-port 0 --dir "$dir" \
            --config tests/drivers/gateway.toml 2>"$logs/gateway.log" </dev/null
    }
    # Bash forgets the variables of a coproc that has ended.
    gateway=$GATEWAY_PID
    if ! read -r -t 120 -u "${GATEWAY[0]}" ready || [[ $ready != "ready "* ]]; then
        echo "the gateway does not serve; it said:"
        cat "$logs/gateway.log"
        kill "$gateway" 2>/dev/null
        wait "$gateway"
        return 1
    fi
    # Types get other numbers on the second shard, as they do on shards that have lived.
    shard=$(sed -n 's/^primary = "\(.*\)"/\1/p' "$dir/pgbraid.toml" | sed -n 2p)
    psql "$shard" -qc 'CREATE TABLE public.x (); DROP TABLE public.x' &&
        tests/drivers/run "${ready#ready }" --gateway
    status=$?
    kill "$gateway" 2>/dev/null
    wait "$gateway" || status=1
    [ "$status" -eq 0 ] || tail -n 40 "$logs/gateway.log"
    return "$status"
}

[ $# -gt 0 ] || set -- format lint test
for name in "$@"; do
    case $name in
    format) step format cargo fmt --all --check ;;
    lint) step lint cargo clippy --workspace --all-targets --locked -- -D warnings ;;
    test) step test cargo test --workspace --locked --no-fail-fast ;;
    drivers) step drivers drivers ;;
    *)
        echo "unknown step $name: format lint test drivers" >&2
        exit 2
        ;;
    esac
done

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
exit $failed
