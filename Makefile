# One environment, .venv, made on first use. The files .venv/.run and .venv/.dev are stamps: a second run is fast.
#
#   make demo      the main job end to end, with the run-time dependencies only
#   make test      the whole suite, at the versions of constraints.txt (make test PINS= takes the newest instead)
#   make lint types test build test-trainers      what .ci/run runs

PYTHON ?= python3
PINS   ?= --constraint constraints.txt
ARGS   ?=
KILLS  ?= 200

BIN := .venv/bin
# Never ask, never wait for a terminal.
export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-faults test-trainers test-converters loop lint types bench build clean

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 12

demo: .venv/.run ## attach to two agents, watch them fail, relabel, publish shards (ARGS="--json" and the like)
	$(BIN)/agenther-live demo $(ARGS)

test: .venv/.dev ## the whole suite (ARGS="-k journal" and the like)
	$(BIN)/python -m pytest $(ARGS)

test-faults: .venv/.dev ## every fault for real: KILLS=200 kill -9s, full and vanishing volumes (root), clocks, namespaces
	AGENTHER_TEST_KILLS=$(KILLS) $(BIN)/python -m pytest -m faults --numprocesses=0 $(ARGS)

test-trainers: .venv/.trainers ## TRL's own trainers on published shards, with a tiny model (adds torch to .venv)
	$(BIN)/python -m pytest tests/trainers --numprocesses=2 --timeout=600 -W default $(ARGS)

test-converters: .venv/.trainers ## LLaMA-Factory, ms-swift and axolotl read their shards, each in an environment below build/
	AGENTHER_CONVERTERS=build/converters $(BIN)/python -m pytest tests/trainers/converters --numprocesses=0 -W default $(ARGS)

loop: .venv/.trainers ## agents, relabeling, TRL and the next policy, on two small worlds: tables, plots, JSON in build/loop/ (ARGS="--small")
	nice $(BIN)/python -m examples.continual_loop --out build/loop $(ARGS)

lint: .venv/.dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev ## mypy strict and pyright
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: .venv/.dev ## docs/sql.md and docs/settings.md anew, from the views, the questions and the settings
	$(BIN)/python -m agenther_live.buffer.docs examples/queries.sql > docs/.new && mv docs/.new docs/sql.md
	$(BIN)/python -m agenther_live.settings_page > docs/.new && mv docs/.new docs/settings.md

bench: .venv/.dev ## every benchmark; tables as JSON in build/bench/
	mkdir -p build/bench
	for file in benchmarks/*.py; do \
	  $(BIN)/python $$file --json build/bench/$$(basename $$file .py).json || exit 1; done

build: .venv/.dev ## wheel and sdist into dist/, then the wheel tried in a clean environment
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python .ci/check_wheel.py dist

clean: ## the environment and everything that was built or cached
	rm -rf .venv build dist *.egg-info .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "AgentHER Live needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv

.venv/.run: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet $(PINS) --editable '.[dev]'
	touch .venv/.run $@

.venv/.trainers: .venv/.dev
	$(BIN)/python -m pip install --quiet $(PINS) --editable '.[dev,trainers]'
	touch $@
