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
        /^test result:/ {
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

[ $# -gt 0 ] || set -- format lint test
for name in "$@"; do
    case $name in
    format) step format cargo fmt --all --check ;;
    lint) step lint cargo clippy --workspace --all-targets --locked -- -D warnings ;;
    test) step test cargo test --workspace --locked --no-fail-fast ;;
    drivers) step drivers cargo test --locked --no-fail-fast --test drivers ;;
    *)
        echo "unknown step $name: format lint test drivers" >&2
        exit 2
        ;;
    esac
done

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
exit $failed
