# Two commands are all that a newcomer needs: `make run` and `make test`.
CARGO ?= cargo

.PHONY: run test lint bench setup-run setup-test

run: setup-run ## install what is missing, build, serve conf/sidetone.toml
	$(CARGO) build --release --quiet -p server -p speech-worker
	exec target/release/sidetone serve --config conf/sidetone.toml

test: setup-test ## everything that CI runs
	scripts/test

lint: ## formatting, clippy, documentation, arrows between the crates
	scripts/lint

bench: ## benchmarks; results are ratios measured in one run
	$(CARGO) bench -p benches
	$(CARGO) bench --locked --manifest-path benches/parsers/Cargo.toml

setup-run:
	@scripts/setup run

setup-test:
	@scripts/setup test
