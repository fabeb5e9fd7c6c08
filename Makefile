# make demo                     four real shards, a gateway and a shop's data; ARGS="--shards 2 --port 7000" for options
# make test                     formatting, lints, tests with real servers, the drivers that people use
# make bench                    next to a direct connection and PgBouncer
# make lint                     formatting and lints alone

ARGS ?=

.PHONY: demo test bench lint

demo:
	@deploy/setup.sh demo
	@cargo run --release --locked --bin pgbraid -- demo $(ARGS)

test:
	@deploy/setup.sh test
	@deploy/test.sh

bench:
	@deploy/setup.sh bench
	@cargo build --release --locked --bin pgbraid
	@benches/run $(ARGS)

lint:
	@deploy/setup.sh lint
	@deploy/test.sh format lint
