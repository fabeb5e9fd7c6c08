"""What the Python suites share: tests are functions, run in the order written, each printing one line.

A suite is a program: `suite.py URL [--gateway]`. It prints `ok NAME` or `FAILED NAME: reason` for each test and `end` when
it came to its end; `../run` counts those lines. Tests registered with `refusal` run only on a gateway.
"""

import asyncio
import inspect
import os
import signal
import sys
import traceback

TEST_SECONDS_MAX = 60

_tests = []


def test(name):
    """Registers a test that must pass on a plain PostgreSQL and on a gateway."""

    def register(function):
        _tests.append((name, function, False))
        return function

    return register


def refusal(name):
    """Registers a test that makes sense only on a gateway: what this release refuses."""

    def register(function):
        _tests.append((name, function, True))
        return function

    return register


def equal(got, expected, what=""):
    """Fails the test unless both are equal."""
    if got != expected:
        raise AssertionError(f"{what + ': ' if what else ''}expected {expected!r}, got {got!r}")


def true(condition, what):
    """Fails the test unless the condition holds."""
    if not condition:
        raise AssertionError(what)


class raises:
    """`with raises("23505", sqlstate_of)`: the block must end with that SQLSTATE."""

    def __init__(self, sqlstate, sqlstate_of=None):
        self.sqlstate = sqlstate
        self.sqlstate_of = sqlstate_of or (lambda error: getattr(error, "sqlstate", None))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            raise AssertionError(f"expected SQLSTATE {self.sqlstate}, got no error")
        got = self.sqlstate_of(error)
        if got != self.sqlstate:
            raise AssertionError(f"expected SQLSTATE {self.sqlstate}, got {got}: {error!r}") from error
        self.error = error
        return True


def main(url, gateway, prefix=""):
    """Runs the registered tests; those that take an argument get the URL."""

    def expired(*_):
        raise TimeoutError(f"not done after {TEST_SECONDS_MAX} s")

    signal.signal(signal.SIGALRM, expired)
    for name, function, on_gateway_only in _tests:
        if on_gateway_only and not gateway:
            continue
        signal.alarm(TEST_SECONDS_MAX)
        try:
            if inspect.iscoroutinefunction(function):
                asyncio.run(function(url))
            else:
                function(url)
            print(f"ok {prefix}{name}", flush=True)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:800]
            print(f"FAILED {prefix}{name}: {reason}", flush=True)
            if os.environ.get("DRIVERS_TRACE"):
                traceback.print_exc()
        finally:
            signal.alarm(0)


def program():
    """The command line of a suite."""
    main(sys.argv[1], "--gateway" in sys.argv[2:])
    print("end", flush=True)
