# The vocabulary of this project. Everything makes its own .venv from nothing but Python and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ifdef BACKEND
export SANDBOX_BACKEND := $(BACKEND)
endif

.DEFAULT_GOAL := help
.PHONY: help up down status doctor logs node-image test check unit golden contract ui e2e bench docs engines images \
  requirements format clean

help:  ## show this
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / {printf "  make %-31s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.run  ## bring the sandbox up: model, engine, gateway, page
	@$(BIN)/sandbox up $(ARGS)

down: $(VENV)/.run  ## stop everything; chats, keys, models and the record stay
	@$(BIN)/sandbox down

status: $(VENV)/.run  ## say how it is
	@$(BIN)/sandbox status $(ARGS)

doctor: $(VENV)/.run  ## check what must hold on this machine
	@$(BIN)/sandbox doctor $(ARGS)

logs: $(VENV)/.run  ## show the end of a log: make logs NAME=gateway
	@$(BIN)/sandbox logs $(NAME)

node-image: $(VENV)/.run  ## build the cluster's node image, and every other, from package mirrors alone
	@$(BIN)/python -m sandbox.cluster.images node apps

test: check engines images $(VENV)/.browser $(VENV)/.network  ## everything: checks, then all tests on real engines and a real browser
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev  ## style, types, architecture, stale docs
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

unit golden contract ui e2e: $(VENV)/.dev  ## one kind of test
	$(BIN)/python -m pytest tests/$@ $(ARGS)

bench: $(VENV)/.dev  ## measure: what the gateway adds, and the engines' speed
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.dev  ## write the generated pages anew
	$(BIN)/python docs/generate.py

format: $(VENV)/.dev  ## lay the code out
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

engines: $(VENV)/.dev  ## build the engines that are tested, into a cache outside the checkout
	$(BIN)/python -m sandbox.engine.build all

images: $(VENV)/.dev  ## build the images that are tested, where a Docker engine answers
	@if [ "$(CI)" = true ] || docker info >/dev/null 2>&1; then $(BIN)/python -m sandbox.cluster.images all; \
	else echo "no Docker engine answers: the cluster's tests will be skipped" >&2; fi

requirements: $(VENV)/.dev  ## resolve the pinned requirements anew
	requirements/resolve $(BIN)/python

clean: ## remove what was made in this folder; the data folder stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(VENV)/.run: requirements/run.txt pyproject.toml
	@$(PYTHON) requirements/least_python.py
	@echo "preparing $(VENV) with $$($(PYTHON) --version): about a minute the first time" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "adding what the tests need" >&2
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@touch $@

$(VENV)/.network: $(VENV)/.dev tests/get-network-tools
	@tests/get-network-tools
	@touch $@

$(VENV)/.browser: $(VENV)/.dev tests/e2e/get-chromium
	@tests/e2e/get-chromium
	@touch $@
