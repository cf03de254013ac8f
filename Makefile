# The front door. `make` alone says what there is.
.PHONY: help setup build example test bench
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
bench: setup ## figures: micro-benchmarks and whole builds
	cargo build --locked --release -p cli
	cargo bench --locked -p benches
	cargo run --locked --release -p benches --bin e2e
