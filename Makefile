# The same few verbs for people and for CI. Each sets up what it needs in .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
JOBS ?= 2
ROUNDS ?= 10
ONCE ?=
SEED ?=
export PYTHON

# A .venv keeps the interpreter it was made with; asking for another must not pass in silence.
ifeq ($(origin PYTHON),command line)
ifneq ($(wildcard .venv/bin/python),)
VERSION := -c 'import sys; print(*sys.version_info[:3], sep=".")'
ifneq ($(MAKECMDGOALS),clean)
ifneq ($(shell '$(PYTHON)' $(VERSION)),$(shell .venv/bin/python $(VERSION)))
$(error .venv was made with another Python than $(PYTHON): make clean first)
endif
endif
endif
endif

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
COMPILE := $(BIN)/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header $(LOCK)

.PHONY: help setup demo test check fix bench flake chaos proto lock wheel clean

help: ## say what there is
	@printf 'make VERB, where VERB is one of\n\n'
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10
	@printf '\nPYTHON=python3.13 picks the interpreter of a new .venv.\n'

setup: .venv/dev.ready ## make .venv with everything, for work on farhand itself

.venv/run.ready: requirements/run.txt requirements/uv.txt requirements/install pyproject.toml
	@echo 'setting up .venv to run farhand …'
	@requirements/install run

.venv/dev.ready: requirements/dev.txt .venv/run.ready
	@echo 'setting up .venv to work on farhand …'
	@requirements/install dev

demo: .venv/run.ready ## a controller, three agents and a job, live; ONCE=1 ends by itself
	@$(BIN)/farhand demo $(if $(ONCE),--once)

test: check ## everything: check, then all tests
	@$(PYTEST)

check: .venv/dev.ready ## formatting, lint, strict types, import rules, generated code
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python proto/generate.py --check

fix: .venv/dev.ready ## format, and mend what lint can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: .venv/dev.ready ## measure what farhand must hold: a table, JSON and a plot
	@$(BIN)/python -m bench --publish docs/benchmarks

flake: .venv/dev.ready ## repeat the tests ROUNDS times, shuffled and crowded
	@for round in $$(seq $(ROUNDS)); do \
	  seed=$$RANDOM; \
	  printf '\nround %s of %s, seed %s\n' "$$round" $(ROUNDS) "$$seed"; \
	  $(PYTEST) -q -n $$(( $(JOBS) * 2 )) \
	    -p randomly -p no:cacheprovider --randomly-seed=$$seed --hypothesis-profile=explore; \
	done

chaos: ROUNDS = 1
chaos: .venv/dev.ready ## break everything at random while jobs run; SEED=… draws the same again
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --rounds $(ROUNDS)

proto: .venv/dev.ready ## generate wire/gen from proto/ again
	@$(BIN)/python proto/generate.py

lock: .venv/run.ready ## pin the dependencies again; LOCK=--upgrade takes new releases
	@$(COMPILE) pyproject.toml --extra all --group dev -o requirements/dev.txt
	@$(COMPILE) pyproject.toml --extra all --group build -c requirements/dev.txt -o requirements/run.txt
	@echo uv | $(COMPILE) - -c requirements/dev.txt -o requirements/uv.txt

wheel: .venv/dev.ready ## build dist/farhand-*.whl
	@$(BIN)/uv --quiet build --wheel --no-build-isolation --python $(BIN)/python -o dist

clean: ## remove what the other verbs made
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
