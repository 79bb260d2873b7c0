# Every target prepares what it needs: on a fresh clone `make demo` or `make test` is all there is to type.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
PACKAGES := schemas detectors streams loadgen deploy
PYTHON_STAMP := .venv/.set-up
LOCAL_STAMP := .venv/.local-set-up
LOCAL_SETUP := $(wildcard deploy/local/setup.sh)
PYTEST_ARGS ?=
TEST_JOBS ?= 2
DEMO_ARGS ?=
BENCH_ARGS ?=
PEERS_ARGS ?=
N ?= 1
CELLS ?=
JOBS ?= 2
PYTHON ?=

.PHONY: help setup test unit lint format demo bench bench-peers faults ci docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(PYTHON_STAMP) $(LOCAL_STAMP) ## Python environment, Java and Maven for the local Kafka

$(PYTHON_STAMP): pyproject.toml constraints.txt .ci/venv
	@PYTHON='$(PYTHON)' .ci/venv
	@touch $@

$(LOCAL_STAMP): $(PYTHON_STAMP) $(LOCAL_SETUP) $(wildcard deploy/local/pom.xml)
	@$(if $(LOCAL_SETUP),bash $(LOCAL_SETUP),true)
	@touch $@

test: setup ## all tests but benchmarks and the matrix of faults (PYTEST_ARGS="-k name" narrows them, TEST_JOBS=0: one process)
	$(BIN)/python -m pytest -m 'not bench and not matrix' -n $(TEST_JOBS) --dist worksteal $(PYTEST_ARGS)

unit: $(PYTHON_STAMP) ## unit tests, laws and doctests alone: minutes, no broker
	$(BIN)/python -m pytest $(wildcard tests/unit tests/laws schemas detectors) $(PYTEST_ARGS)

lint: $(PYTHON_STAMP) ## format, style, types, layers, dependencies, dead code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .
	$(BIN)/vulture

format: $(PYTHON_STAMP) ## let ruff rewrite what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: setup ## two minutes: everything started, faults injected, alerts scored
	$(BIN)/halcyon demo $(DEMO_ARGS)

bench: setup ## speed, timeliness and memory, and whether they are as promised (BENCH_ARGS="throughput cost")
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-peers: setup ## the same job in Bytewax, Quix Streams and stock Faust: half an hour (PEERS_ARGS="throughput --rounds 1")
	$(BIN)/python -m tests.bench peers $(PEERS_ARGS)

faults: setup ## every fault, N times with fresh seeds (N=5; CELLS=offsets, or words of names as for pytest -k)
	$(BIN)/python -m tests.harness.matrix --runs $(N) --cells "$(CELLS)" --jobs $(JOBS)

ci: ## what runs on every change
	.ci/run

docs: $(PYTHON_STAMP) ## rewrite the generated references
	$(BIN)/halcyon config reference > docs/.configuration.md.new
	mv docs/.configuration.md.new docs/configuration.md
	$(BIN)/python -m schemas.generate
	$(BIN)/python -m streams.cli.picture > docs/images/.alert.svg.new
	mv docs/images/.alert.svg.new docs/images/alert.svg

clean: ## forget the environment, caches and local data
	rm -rf .venv .cache .halcyon .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
