# make demo                     four real shards, a gateway and a shop's data; ARGS="--shards 2 --port 7000" for options
# make test                     formatting, lints, tests with real servers, the drivers that people use
# make release                  a build for production, optimized by profiles; takes two builds' time, prints where it is
# make bench                    that build next to a direct connection and PgBouncer
# make lint                     formatting and lints alone

ARGS ?=

.PHONY: demo test release bench lint

demo:
	@deploy/setup.sh demo
	@cargo run --release --locked --bin pgbraid -- demo $(ARGS)

test:
	@deploy/setup.sh test
	@deploy/test.sh

release:
	@deploy/setup.sh bench
	@deploy/release.sh

bench:
	@deploy/setup.sh bench
	@binary=$$(deploy/release.sh) && benches/run --binary "$$binary" $(ARGS)

lint:
	@deploy/setup.sh lint
	@deploy/test.sh format lint
