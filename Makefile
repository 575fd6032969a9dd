# The commands of Slither. Each target that needs it sets the machine up first; that is done once,
# and again only when what it depends on changes (see scripts/setup).

VENV := PATH="$(CURDIR)/.venv/bin:$$PATH" VIRTUAL_ENV="$(CURDIR)/.venv"
EXAMPLE ?= --all

BENCH ?= throughput gather payloads work joblib startup store overlap restart ends scale metrics

# Elixir wants a UTF-8 locale; a bare machine has none set.
export LANG := C.UTF-8
export LC_ALL := C.UTF-8
export ELIXIR_ERL_OPTIONS ?= +fnu

.DEFAULT_GOAL := help
.PHONY: help setup example test check bench escript wheel tables format clean distclean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## Install what is missing: Elixir (apt), .venv, the Python package and its tools
	@scripts/setup

example: setup ## Run all examples and their baselines, or EXAMPLE=name
	@$(VENV) scripts/example $(EXAMPLE)

test: setup ## Run both test suites, ExUnit and pytest
	@scripts/setup tests
	@$(VENV) scripts/test

check: setup ## Check format, warnings, cycles, types and lint, in Elixir and Python
	@scripts/setup dialyzer
	@$(VENV) scripts/check

bench: escript ## Measure speed, gathered calls, scale, shared state, start-up, restarts and ends
	@scripts/setup bench
	@for bench in $(BENCH); do $(VENV) mix run beam/bench/$$bench.exs || exit 1; done

escript: setup ## Build the BEAM side for Python programs, which slither.Beam() starts
	@MIX_ENV=prod mix escript.build

wheel: setup ## Build dist/*.whl, which carries the BEAM side, and try it in an empty venv
	@$(VENV) scripts/wheel
	@$(VENV) scripts/wheel-check

tables: setup ## Write the guide's tables of events, metrics and spans anew, from the code
	@MIX_ENV=test mix run --no-start scripts/tables.exs

format: setup ## Format all code
	@$(VENV) mix format
	@$(VENV) ruff format
	@$(VENV) ruff check --fix

clean: ## Remove what builds and checks left behind
	@rm -rf _build .hypothesis .mypy_cache .pytest_cache .ruff_cache dist

distclean: clean ## Remove what the set-up left behind in this directory, too
	@rm -rf .venv python/*.egg-info
