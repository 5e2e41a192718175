# `make demo` and `make test` do all the set-up: a virtual environment with what is needed, and nothing outside it.

VENV ?= .venv
PEER_VENV ?= .venv-peer
# The first Python that is new enough; `make test PYTHON=python3.13` to choose.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP = $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
BIN = $(VENV)/bin

# Tests at the same time: most of them wait for something.
JOBS ?= 3
# Those that need no server and no other process: what covers the core.
CORE_TESTS = tests/protocol tests/test_codec.py tests/test_verdicts.py
PEER = STATE_SIGNALS_PEER=$(abspath $(PEER_VENV))/bin/python
SEEDS ?= 2000
FIRST ?= 0

.PHONY: help demo test faults simulate docs coverage lint format bench bench-short large pictures clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.demo ## run the demonstration: real processes, a real workload, a table of outcomes
	@$(BIN)/state-signals demo

test: $(VENV)/.dev $(PEER_VENV)/.peer ## run the tests, and check that the core is covered
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n $(JOBS) $(CORE_TESTS) $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='*/protocol/*,*/codec.py,*/verdicts.py' --fail-under=100
	$(PEER) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(CORE_TESTS:%=--deselect %) $(PYTEST_ARGS)

faults: $(VENV)/.dev $(PEER_VENV)/.peer ## break servers, connections and processes, and print how long it takes to recover
	@rm -f .faults.jsonl
	$(PEER) STATE_SIGNALS_MEASURES=$(CURDIR)/.faults.jsonl \
		$(BIN)/python -m pytest tests/faults $(PYTEST_ARGS)
	@$(BIN)/python -m tests.faults.measures .faults.jsonl

simulate: $(VENV)/.dev ## run SEEDS simulated worlds in which things go wrong (2000); FIRST is the first seed (0)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST)

docs: $(VENV)/.dev ## write docs/cli.md from the commands' help
	$(BIN)/python docs/reference.py

coverage: $(VENV)/.dev $(PEER_VENV)/.peer ## run the tests, slower, and show what they did not run
	@rm -f .coverage .coverage.*
	$(PEER) $(BIN)/coverage run -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(VENV)/.dev ## check formatting, lint, types and import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/.bench $(PEER_VENV)/.peer ## measure everything beside other ways to do it, and write docs/performance.md
	STATE_SIGNALS_PEER=$(abspath $(PEER_VENV))/bin/python $(BIN)/python -m benchmarks --output build/bench.json
	$(BIN)/python -m benchmarks.report build/bench.json
	$(BIN)/python benchmarks/import_cost.py

bench-short: $(VENV)/.dev ## measure rounds beside the same by hand, and fail if they have become too slow
	$(BIN)/python -m benchmarks --short --check --output build/bench-short.json

large: $(VENV)/.dev ## measure one exporter with up to 10,000 responders, and write docs/scale.md (3 minutes)
	$(BIN)/python -m benchmarks.large --output build/large.json
	$(BIN)/python -m benchmarks.scale build/large.json --write

pictures: $(VENV)/.dev ## make the pictures of the documentation, from real runs
	$(BIN)/python -m docs.pictures.timeline
	$(BIN)/python -m docs.pictures.watch

clean: ## remove what the other targets made
	rm -rf $(VENV) $(PEER_VENV) .coverage .coverage.* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "CPython 3.11 or later is needed; name one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# Dependency groups are known to pip from 25.1 on.
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml
	$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml
	$(PIP) install --editable '.[demo,plot]' --group dev
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.dev pyproject.toml
	$(PIP) install --group benchmarks || echo "nats-py or pynng cannot be had here, and is left out" >&2
	@touch $@

# state-signals 1.0.1 lives apart: it has the same module name, wants another redis-py, and that one wants distutils.
$(PEER_VENV)/.peer: Makefile
	@test -n "$(PYTHON)" || { echo "CPython 3.11 or later is needed; name one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(PEER_VENV)
	$(PEER_VENV)/bin/python -m pip --quiet --disable-pip-version-check install 'state-signals==1.0.1' 'redis<4' 'setuptools<80'
	@touch $@
