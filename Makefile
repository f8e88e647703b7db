# The one door. Every target makes the virtual environment that it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DIPTYCH := $(BIN)/diptych
# Byte-compiling every module of TensorFlow takes longer than compiling those that are used when they are used.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: help venv train test test-fast check bench clean

help:
	@echo "make train      the main job on real images: install, train, evaluate, plot (under 10 minutes on two cores)"
	@echo "make test       the whole test suite"
	@echo "make test-fast  the tests without whole runs"
	@echo "make check      what CI runs: ruff, mypy --strict, make test"
	@echo "make bench      the benchmarks, each with one JSON line"
	@echo "make venv       the virtual environment alone"
	@echo "make clean      remove the virtual environment and the caches; data and runs stay"

venv: $(VENV)/run-installed

$(VENV)/run-installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Diptych needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/samples-installed: $(VENV)/run-installed requirements-samples.txt
	$(PIP) -r requirements-samples.txt
	@touch $@

$(VENV)/dev-installed: $(VENV)/samples-installed requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	@touch $@

# Solar cells have no up: all eight flips and turns. The split is the one that other tools were measured on.
train: data/elpv
	$(DIPTYCH) train --data data/elpv --split benchmarks/elpv_split.csv --preset quick --weights auto --quarter-turns
	$(DIPTYCH) evaluate
	$(DIPTYCH) plot

data/elpv: | $(VENV)/samples-installed
	$(DIPTYCH) samples $@

test: $(VENV)/dev-installed
	.ci/install-chromium
	$(BIN)/python -m pytest

test-fast: $(VENV)/dev-installed
	$(BIN)/python -m pytest -m "not slow"

check: $(VENV)/dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

bench: data/elpv $(VENV)/dev-installed
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/branches.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/quick.py

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
