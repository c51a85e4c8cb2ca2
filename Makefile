# Every command of a developer. Each target installs what it needs into .venv, and prints at its end how long it took.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --silent

export SQLX_OFFLINE := true
export PATH := $(CURDIR)/.venv/bin:$(PATH):$(HOME)/.cargo/bin
export VIRTUAL_ENV := $(CURDIR)/.venv
unexport PYTHONPATH PYTHONHOME

# The sources of the extension; a change of one of them builds it again.
RUST_SOURCES := $(shell find core/src core/.sqlx migrations -type f 2>/dev/null) core/build.rs core/Cargo.toml core/Cargo.lock
TIMED := scripts/timed.sh
SIDE_BY_SIDE := scripts/side-by-side.sh
# Targets that say how long they took: $(call timed,test-rust).
timed = $(TIMED) '$(1)' $(MAKE) $(1)
GENERATE := .venv/bin/python -m scripts.generate
# Missing tools are installed, or named in one line, before anything else is done.
NEED := scripts/need.sh
# Tests need a server where they may create databases: yours, or a throw-away one.
WITH_SERVER := $(if $(WORKFLOWS_TEST_DATABASE_URL),,.venv/bin/python -m currant.embedded run --)
# Most tests wait, so more processes than cores make them faster. 0: all tests run in one process.
PROCESSES ?= 3
CARGO := cargo
MANIFEST := --manifest-path core/Cargo.toml --locked

.PHONY: help build demo demo-k8s test-quick test test-rust test-python test-units test-kubernetes e2e lint bench clean

help: ## what there is
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 17

build: ## the extension and everything around it, in .venv
	@$(TIMED) build $(MAKE) .venv/.built

demo: ## 2,000 orders through the order workflow, with a worker killed half way
	@$(TIMED) demo $(MAKE) demo-steps
demo-steps: .venv/.built
	@.venv/bin/python -m examples.demo

test-quick: ## within three minutes, whether a change is sound: lint, and the unit tests of every language
	@$(TIMED) test-quick $(MAKE) test-quick-steps
test-quick-steps:
	@$(NEED) python compiler cargo rustfmt clippy
	@$(MAKE) .venv/.created
	@$(SIDE_BY_SIDE) "$(call timed,lint-python test-units)" "$(call timed,test-rust-units lint-rust)"
test-units: .venv/.operator
	@PROCESSES=$(PROCESSES) scripts/test-units.sh
test-rust-units:
	@$(CARGO) test $(MANIFEST) --quiet --lib --test layers

test: ## lint, what is generated, the site, and every test that needs no nodes and no second version of anything
	@$(TIMED) test $(MAKE) test-steps
# A missing tool is named within a second. The API server takes minutes to build the first time, at the lowest priority: it gets
# the time in which the others wait.
test-steps:
	@$(NEED) python compiler cargo rustfmt clippy go openssl pgbouncer prometheus
	@$(MAKE) .venv/.created
	@$(SIDE_BY_SIDE) "$(MAKE) test-core" "$(call timed,cluster-binaries)"
	@$(SIDE_BY_SIDE) "$(call timed,test-kubernetes)" "$(call timed,generate-check-steps docs-steps)"
# What has to be compiled first; then the tests of Rust, at a lower priority, in the time in which those of Python wait.
test-core:
	@$(SIDE_BY_SIDE) "$(call timed,.venv/.operator .venv/.docs lint-python)" "$(call timed,build-rust-tests lint-rust)"
	@$(SIDE_BY_SIDE) "$(call timed,test-python)" "nice $(call timed,test-rust)"
build-rust-tests:
	@$(CARGO) test $(MANIFEST) --quiet --no-run
test-rust: .venv/.built
	@$(WITH_SERVER) $(CARGO) test $(MANIFEST)
test-python: .venv/.built
	@$(WITH_SERVER) scripts/pytest.sh --numprocesses $(PROCESSES) core/tests
# The resources, the operator and the chart against a real API server without nodes; the images' tools.
test-kubernetes: .venv/.operator
	@PROCESSES=$(PROCESSES) scripts/test-kubernetes.sh
# The API server of those tests is built well before them, because the build may fail.
cluster-binaries: .venv/.created
	@scripts/test-kubernetes.sh build

.PHONY: test-all test-versions test-postgres15 test-cluster
test-all: ## make test, and the rest: Postgres 15, Python 3.12 and 3.13, the chaos suite in short, a cluster with nodes
	@$(TIMED) test-all $(MAKE) test-all-steps
test-all-steps:
	@$(NEED) pgbouncer faketime postgres15
	@$(call timed,test-steps)
	@$(call timed,test-postgres15)
	@$(call timed,chaos-steps SEEDS=3 SECONDS_EACH=20)
	@$(SIDE_BY_SIDE) "$(call timed,test-cluster)" "nice -n 19 $(call timed,test-versions)"
# The tests on a node mostly wait.
test-cluster:
	@if [ -n "$(KUBECONFIG)" ] || { [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; }; then $(MAKE) e2e-steps; \
		else scripts/leave-out.sh "a cluster with nodes" "run make e2e as root on Debian"; fi
test-versions: .venv/.built
	@scripts/test-versions.sh
test-postgres15: .venv/.built
	@PROCESSES=$(PROCESSES) scripts/test-postgres15.sh

e2e: ## the tests on a real Kubernetes with nodes and pods: brings one up, tests, takes it down
	@$(TIMED) e2e $(MAKE) e2e-steps
e2e-steps:
	@scripts/need-cluster.sh
	@$(MAKE) .venv/.operator
	@scripts/e2e.sh

.PHONY: generate generate-check
generate: ## write all that is generated: .sqlx, the chart's copies, references, golden files, dashboards, charts
	@$(TIMED) generate $(MAKE) generate-steps
# The answers to queries first, from the migrations alone: without them the extension is not built.
generate-steps:
	@$(NEED) python compiler cargo go openssl sqlx
	@[ -e .venv/.built ] || $(MAKE) .venv/.built
	@$(GENERATE) version sqlx
	@$(MAKE) .venv/.operator cluster-binaries
	@$(GENERATE) --except sqlx
generate-check: ## fail where something generated is not what `make generate` writes
	@$(TIMED) generate-check $(MAKE) generate-check-steps
generate-check-steps: .venv/.operator cluster-binaries
	@scripts/pytest.sh -q -c scripts/generate/pytest.ini scripts/generate/tests
	@$(WITH_SERVER) $(GENERATE) --check

demo-k8s: ## the demo on Kubernetes: cluster, chart, worker pool, a shop and its orders
	@$(TIMED) demo-k8s $(MAKE) demo-k8s-steps
demo-k8s-steps:
	@scripts/need-cluster.sh
	@$(MAKE) .venv/.operator
	@examples/kubernetes/demo.sh

.PHONY: dist
dist: ## what a release needs, in dist/, tested in empty environments: wheels, sdist, chart, images, SBOM, checksums
	@$(TIMED) dist $(MAKE) dist-steps
dist-steps:
	@$(NEED) python compiler cargo go
	@$(MAKE) .venv/.installed
	@.venv/bin/python -m scripts.release

lint: ## ruff, mypy, rustfmt, clippy, import-linter, stubtest
	@$(TIMED) lint $(MAKE) lint-steps
lint-steps:
	@$(NEED) python compiler cargo rustfmt clippy
	@$(MAKE) .venv/.operator
	@scripts/lint.sh
lint-python: .venv/.operator
	@scripts/lint.sh python
lint-rust: .venv/.created
	@scripts/lint.sh rust

bench: ## the benchmark suite, beside bare SQL
	@$(TIMED) bench $(MAKE) bench-steps
bench-steps: .venv/.built
	@.venv/bin/python -m bench

.PHONY: docs
docs: ## the pages as a site in .site; fails at a dead link, an unknown anchor, or a page outside the order
	@$(TIMED) docs $(MAKE) docs-steps
# Everything is read again (-E -a): a page that is not read gives no warning.
docs-steps: .venv/.docs
	@.venv/bin/python -m sphinx -c docs/site -b html -E -a -W --keep-going -q . .site
	@echo "docs: the site is file://$(CURDIR)/.site/index.html"

.PHONY: map
map: ## every source file, with the first line of its own description; WORD=claim: those that have the word
	@python3 scripts/map.py "$(WORD)"

.PHONY: model
model: ## every order of events in small worlds, with the number of states
	@$(TIMED) model $(CARGO) test $(MANIFEST) --lib model -- --nocapture

SEEDS ?= 20
SECONDS_EACH ?= 60
.PHONY: chaos chaos-short
chaos: ## SEEDS=20 seeds of faults, 60 s each, against a load; a verdict
	@$(TIMED) chaos $(MAKE) chaos-steps
chaos-short: ## the same in short: 3 seeds of 20 s, as in CI
	@$(TIMED) chaos-short $(MAKE) chaos-steps SEEDS=3 SECONDS_EACH=20
chaos-steps:
	@$(NEED) python compiler cargo pgbouncer faketime
	@$(MAKE) .venv/.built
	@.venv/bin/python -m chaos --seeds $(SEEDS) --seconds $(SECONDS_EACH)

.PHONY: bench-soak
bench-soak: ## what takes long: 10 million finished rows, two soaks of half an hour, memory
	@$(TIMED) bench-soak $(MAKE) bench-soak-steps
bench-soak-steps: .venv/.built
	@.venv/bin/python -m bench --only W7-10M,W10,W11,soak,memory --rounds 1

clean: ## remove what was built, installed, and run here
	@for server in .currant .currant/demo .currant/sqlx; do \
		if [ -d $$server/data ]; then .venv/bin/python -m currant.embedded stop $$server; fi; \
	done
	@rm -rf .venv .site core/target .currant .cluster worker-image/.cache core/python/currant/*.so .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/.created:
	@$(NEED) python compiler cargo
	@scripts/make-venv.sh

.venv/.installed: .venv/.created core/pyproject.toml
	@$(NEED) compiler cargo
	@echo "installing the Python packages ..."
	@.venv/bin/pip install --quiet --disable-pip-version-check --group core/pyproject.toml:dev
	@touch $@

.venv/.built: .venv/.installed $(RUST_SOURCES) core/pyproject.toml
	@$(NEED) compiler cargo
	@echo "building the extension (about two minutes the first time) ..."
	@touch $@.begun # a source that changes during the build is newer
	@log=$$(cd core && ../.venv/bin/maturin develop --release --locked --quiet --extras embedded 2>&1) || { \
		grep -vE '^(Requirement already|Looking in links:|Ignoring )' <<<"$$log" || true; \
		! grep -q 'no cached data for this query' <<<"$$log" || \
			echo "error: a query is new or was changed: run make generate, which asks a database for its answer and then builds"; \
		exit 1; }
	@mv $@.begun $@

.venv/.docs: .venv/.created core/pyproject.toml
	@echo "installing what the site needs ..."
	@.venv/bin/pip install --quiet --disable-pip-version-check --group core/pyproject.toml:docs
	@touch $@

.venv/.operator: .venv/.built operator/pyproject.toml
	@echo "installing the operator ..."
	@.venv/bin/pip install --quiet --disable-pip-version-check --editable operator --group operator/pyproject.toml:test
	@touch $@
