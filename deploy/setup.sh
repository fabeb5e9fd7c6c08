#!/usr/bin/env bash
# Installs the Debian packages that are missing: deploy/setup.sh demo|test|bench|lint
#
# Looks for the things themselves, not for packages, so that what came from elsewhere is used. Quick when all is there.
# Creates and starts no service. Rust is a precondition: https://rustup.rs
set -euo pipefail

purpose=${1:-demo}
packages=()
wished=()

need() { # need PACKAGE CHECK...: the package is missing when the check fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || packages+=("$package")
}

wish() { # the same for one that can be done without, where it is not packaged
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || wished+=("$package")
}

any_file() { compgen -G "$1"; }

has_postgres() {
    command -v initdb || any_file '/usr/lib/postgresql/*/bin/initdb' ||
        { [ -n "${PG_CONFIG:-}" ] && [ -x "$("$PG_CONFIG" --bindir)/initdb" ]; }
}

has_pgbench() { command -v pgbench || any_file '/usr/lib/postgresql/*/bin/pgbench'; }

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || any_file '/usr/lib/llvm-*/lib/libclang*.so*' || ldconfig -p | grep -q 'libclang.*\.so'
}

command -v cargo >/dev/null || {
    echo "setup: Rust is missing (no cargo on the PATH); install it from https://rustup.rs" >&2
    exit 1
}

# For building: PostgreSQL's parser is C, and its bindings are made with libclang.
need build-essential command -v cc
need clang command -v clang
need libclang-dev has_libclang

case $purpose in
lint) ;;
demo)
    need postgresql has_postgres
    ;;
test)
    need postgresql has_postgres
    need postgresql-contrib has_pgbench
    need postgresql-client command -v psql
    # The drivers' tests.
    need python3 command -v python3
    need python3-venv python3 -c 'import ensurepip, venv'
    need nodejs command -v node
    need npm command -v npm
    need default-jdk-headless command -v javac
    need libpostgresql-jdbc-java test -e /usr/share/java/postgresql.jar
    # Makes statements; a test is left out without it.
    need sqlsmith command -v sqlsmith
    # Instructions of the hot path are counted.
    need valgrind command -v valgrind
    # The smallest size of the benchmarks is a test too.
    need pgbouncer any_file '/usr/*bin/pgbouncer'
    ;;
bench)
    need postgresql has_postgres
    need postgresql-contrib has_pgbench
    need pgbouncer any_file '/usr/*bin/pgbouncer'
    need python3 command -v python3
    # Lays out the code of a release; one is built without it where it is not packaged.
    wish bolt-16 any_file '/usr/bin/llvm-bolt*'
    wish libbolt-16-dev any_file '/usr/lib/llvm-*/lib/libbolt_rt_instr.a'
    ;;
*)
    echo "usage: deploy/setup.sh demo|test|bench|lint" >&2
    exit 2
    ;;
esac

[ $((${#packages[@]} + ${#wished[@]})) -gt 0 ] || exit 0

command -v apt-get >/dev/null || {
    [ ${#packages[@]} -gt 0 ] || exit 0
    echo "setup: missing: ${packages[*]} (names of Debian's packages); please install them" >&2
    exit 1
}

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=(sudo)
    elif [ ${#packages[@]} -eq 0 ]; then
        exit 0
    else
        echo "setup: missing: ${packages[*]}; please run as root:" >&2
        echo "    env PATH=\"$PATH\" $(realpath "$0") $purpose" >&2
        exit 1
    fi
fi

echo "setup: installing ${packages[*]} ${wished[*]}" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive PACKAGES="${packages[*]}" WISHED="${wished[*]}" bash -euo pipefail <<'ROOT'
# No service is to be started by installing its package; see invoke-rc.d(8).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
apt-get update -q || echo "setup: the package lists could not be updated, trying with those that are here" >&2
install() { apt-get install -q -y --no-install-recommends "$@" </dev/null; }
case " $PACKAGES " in
*' postgresql '*)
    # Debian makes a cluster, and starts it at every boot, when the server is installed for the first time.
    install postgresql-common
    conf=/etc/postgresql-common/createcluster.conf
    if ! grep -qs '^ *create_main_cluster' $conf; then
        echo 'create_main_cluster = false' >>$conf
    fi
    ;;
esac
# shellcheck disable=SC2086 # a list of words
[ -z "$PACKAGES" ] || install $PACKAGES
for package in $WISHED; do
    install "$package" || echo "setup: going on without $package" >&2
done
case " $PACKAGES " in
*' pgbouncer '*)
    # Its service would take our port at the next boot.
    if [ -d /run/systemd/system ]; then systemctl disable pgbouncer; fi
    ;;
esac
ROOT
