# Two commands matter: `make demo` and `make test`. The others are parts of them, or measure something.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export CARGO_TERM_COLOR ?= auto

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## three days of real load on emulated engines in three minutes (TRACE=file, ENGINE=llama)
	@e2e/install-tools.sh demo
	@cargo build --workspace --bins
	@$(if $(filter llama,$(ENGINE)),e2e/llama/install.sh)
	@exec "$${CARGO_TARGET_DIR:-target}/debug/demo" $(if $(TRACE),--trace "$(TRACE)") $(if $(ENGINE),--engine "$(ENGINE)")

test: ## everything: format, clippy, unit, conformance, chart, end-to-end; one closing line
	@python3 e2e/run_tests.py all

test-unit: ## format, clippy and the tests that need no cluster and no other program
	@python3 e2e/run_tests.py unit

test-chart: ## chart and dashboards with real helm and promtool
	@python3 e2e/run_tests.py chart

test-e2e: ## standalone and cluster tests with real parts
	@python3 e2e/run_tests.py e2e

lint: ## format and clippy
	@cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings

# Once cargo-deny is there, `audit` needs no network; `advisories` fetches the RustSec database from github.com.
audit: cargo-deny ## licences, bans and sources of dependencies (compiles cargo-deny first)
	@cargo deny check bans licenses sources

advisories: cargo-deny ## known vulnerabilities of dependencies (fetches their list from github.com)
	@cargo deny check advisories

cargo-deny:
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny@0.20.2

schemas: ## write the shipped configuration schemas and the CRD anew
	@cargo run -q -p router -- --print-config-schema > router/config.schema.json
	@cargo run -q -p adapter -- serve --print-config-schema > adapter/config.schema.json
	@cargo run -q -p autoscaler -- controller --print-config-schema > autoscaler/config.schema.json
	@cargo run -q -p autoscaler -- standalone --print-config-schema > autoscaler/standalone.schema.json
	@cargo run -q -p autoscaler -- crd print > charts/vllm-prod-stack/crds/engineautoscalers.yaml

cluster-up: ## start the real one-node cluster of the end-to-end tests
	@e2e/cluster/cluster.sh up

cluster-down: ## stop it and leave nothing
	@e2e/cluster/cluster.sh down

clean: ## remove what was built here (caches outside the checkout stay)
	@cargo clean

.PHONY: help demo test test-unit test-chart test-e2e lint audit advisories cargo-deny schemas cluster-up cluster-down clean
