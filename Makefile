# Everything is set up by these targets; nothing has to be installed by hand.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || echo /usr/bin/chromium)
export CHROMIUM

.PHONY: help demo test lint types layers tests test-engines test-gpu test-faults bench format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' requirements.txt)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(READY) ## do the main job on real releases, here (about 5 minutes, then seconds)
	$(BIN)/mtp-monitor demo

test: lint types layers tests ## lint, types, layers, and all tests but the slow suites

lint: $(READY) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## types, also as the Pythons that are not on this machine would see them
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.13

layers: $(READY) ## who may import whom
	$(BIN)/lint-imports

tests: $(READY) $(CHROMIUM) ## unit, integration, acceptance and browser tests, with coverage
	rm -f .coverage .coverage.*
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --cov --cov-report= \
		--ignore tests/acceptance/test_ten_releases.py tests/acceptance tests/browser tests/integration tests/unit
	$(BIN)/coverage report

test-engines: $(READY) /usr/bin/podman ## real engines over builds months apart, and ten kinds of release (slow)
	$(BIN)/pytest tests/engines tests/acceptance/test_ten_releases.py

test-gpu: $(READY) ## what needs a real GPU; elsewhere each test says what is missing
	$(BIN)/pytest -rs tests/gpu

test-faults: $(READY) ## kill, starve and mislead the monitor (slow)
	$(BIN)/pytest tests/faults

bench: $(READY) ## measure the monitor itself
	$(BIN)/python benchmarks/client.py

format: $(READY) ## rewrite the code in its style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY) ## choose the newest versions that fit, with their hashes
	$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes --universal --python-version 3.11 \
		--no-emit-index-url --no-header --quiet --upgrade -o requirements.txt

clean: ## remove what the targets made
	rm -rf $(VENV) build dist demo .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# For releases that are images: podman, a registry, and what makes a small Debian. A docker service is used as well
# where there is one.
/usr/bin/podman:
	$$(test "$$(id -u)" = 0 || echo sudo) sh -c \
		'apt-get update -qq && apt-get install -y -qq podman runc docker-registry mmdebstrap'

# Debian's Chromium, for the tests that open the report in a real browser.
/usr/bin/chromium:
	$$(test "$$(id -u)" = 0 || echo sudo) sh -c 'apt-get update -qq && apt-get install -y -qq chromium'
