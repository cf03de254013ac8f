# The front door. `make` alone says what there is.
.PHONY: help setup build example test bench details man fuzz soak
# Seconds that `make fuzz` gives each target.
FUZZ_SECONDS ?= 60
# Options of the whole builds: `make bench BENCH="--only apps --rounds 3"`.
BENCH ?=
help:
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile
setup: ## install what is missing, compile RocksDB once
	scripts/setup
build: setup ## build target/release/sealer
	cargo build --locked --release -p cli
example: ## set up, build, and build the example images
	scripts/example
test: ## every check
	scripts/test
bench: setup ## figures: micro-benchmarks, and whole builds beside peers; BENCH="--quick" to try it
	cargo build --locked --release -p cli -p benches
	cargo bench --locked -p benches
	cargo run --locked --release -p benches --bin bench -- $(BENCH)
details: setup ## figures of single parts: second builds, image tools, registries, container images, remote caches, RUN
	cargo build --locked --release -p cli -p benches
	cargo run --locked --release -p benches --bin again
	cargo run --locked --release -p benches --bin images
	cargo run --locked --release -p benches --bin registries
	cargo run --locked --release -p benches --bin container_images
	cargo run --locked --release -p benches --bin remote_cache
	cargo run --locked --release -p benches --bin run
man: build ## write the manual pages to target/man
	mkdir -p target/man
	target/release/sealer man target/man
fuzz: setup ## fuzz every target for FUZZ_SECONDS; needs a nightly compiler
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz
soak: ## 100,000 random edits, each build compared with what it should be; takes a quarter of an hour
	scripts/soak
