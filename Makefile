# The one door. Every target makes the virtual environment that it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DIPTYCH := $(BIN)/diptych
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# Byte code is written by the process that first imports a module: of the 19,000 modules that lie here, one in four is ever used.
# Where the environment forbids it, each process would compile TensorFlow anew: 12 seconds instead of 5.
unexport PYTHONDONTWRITEBYTECODE
# Several processes, each with whole files of tests, whose trainings are shared.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: help venv train test test-fast test-wheel test-tensorflow test-jax check-installed check check-long bench clean

help:
	@echo "make train      the main job on real images: install, train, evaluate, plot (under 10 minutes on two cores)"
	@echo "make test       the whole test suite on PyTorch, which it installs, then make test-tensorflow"
	@echo "make test-fast  the tests without whole runs"
	@echo "make test-wheel the built package in an empty environment; a part of make test"
	@echo "make test-tensorflow  the tests of model, training, evaluation and explanations on TensorFlow"
	@echo "make test-jax   those of them that depend most on the backend on JAX, which it installs"
	@echo "make check      what CI runs: ruff, mypy --strict, make test, make test-jax"
	@echo "make check-long what takes an hour: ten kills on each backend, all on TensorFlow, other seeds, other arithmetic"
	@echo "make bench      the benchmarks, each with one JSON line"
	@echo "make venv       the virtual environment alone"
	@echo "make clean      remove the virtual environment and the caches; data and runs stay"

venv: $(VENV)/run-installed

# pip takes the extras from the metadata of the package, which the first of these installs.
$(VENV)/run-installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Diptych needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt --editable .
	@touch $@

$(VENV)/samples-installed: $(VENV)/run-installed
	$(PIP) 'diptych[samples]'
	@touch $@

$(VENV)/dev-installed: $(VENV)/samples-installed requirements-dev.txt
	$(PIP) -r requirements-dev.txt 'diptych[all]'
	@touch $@

$(VENV)/jax-installed: $(VENV)/dev-installed
	$(PIP) 'diptych[jax]'
	@touch $@

$(VENV)/torch-installed: $(VENV)/dev-installed
	$(PIP) 'diptych[torch]'
	@touch $@

# Solar cells have no up: all eight flips and turns. The split is the one that other tools were measured on.
train: data/elpv
	$(DIPTYCH) train data/elpv --class-names functional,defective --split benchmarks/elpv_split.csv --preset quick --weights auto --quarter-turns
	$(DIPTYCH) evaluate
	$(DIPTYCH) plot

data/elpv: | $(VENV)/samples-installed
	$(DIPTYCH) samples $@

# PyTorch traces and compiles nothing: a network that is used once is ready in a quarter of the time that the others take. The
# runs through the doors (train.py, evaluate.py) are on TensorFlow, the default, here too.
test: $(VENV)/torch-installed
	.ci/install-chromium
	KERAS_BACKEND=torch $(PYTEST)
	$(MAKE) test-tensorflow

# A resumed training is killed ten times, the whole suite is run on TensorFlow, and no test may rest on what one processor or one seed happens to compute.
check-long: $(VENV)/dev-installed $(VENV)/jax-installed $(VENV)/torch-installed
	DIPTYCH_KILLS=10 $(PYTEST) tests/training/test_resume.py
	DIPTYCH_KILLS=10 KERAS_BACKEND=jax $(PYTEST) tests/training/test_resume.py
	DIPTYCH_KILLS=10 KERAS_BACKEND=torch $(PYTEST) tests/training/test_resume.py
	$(PYTEST)
	DIPTYCH_SEED=4 ONEDNN_MAX_CPU_ISA=SSE41 $(PYTEST) -m slow
	DIPTYCH_SEED=5 TF_ENABLE_ONEDNN_OPTS=0 OMP_NUM_THREADS=4 $(PYTEST) -m slow

# A part of `make test`, for it alone.
test-wheel: $(VENV)/dev-installed
	$(BIN)/python -m pytest tests/test_wheel.py

test-fast: $(VENV)/dev-installed
	$(PYTEST) -m "not slow"

# Tests that have to do with what computes; of the whole runs, only those that are marked for every backend.
BACKEND_TESTS = tests/model/test_attention.py tests/model/test_convnet.py tests/training/steps/test_optimizers.py \
	tests/training/steps/test_averaging.py tests/training/test_resume.py tests/inference/test_predict.py \
	tests/explanation/test_saliency.py

test-jax: export KERAS_BACKEND = jax
test-jax: $(VENV)/jax-installed
	$(PYTEST) -m "not one_backend and (not slow or every_backend)" $(BACKEND_TESTS)

test-tensorflow: export KERAS_BACKEND = tensorflow
test-tensorflow: $(VENV)/dev-installed
	$(PYTEST) -m "not one_backend and (not slow or every_backend or on_tensorflow)" $(BACKEND_TESTS) \
		tests/model tests/explanation tests/training/test_fit.py tests/training/test_stopping.py tests/tuning/test_find_lr.py

check-installed: $(VENV)/dev-installed $(VENV)/jax-installed $(VENV)/torch-installed

# All three are installed before `make test`, whose tests between backends would be skipped otherwise.
check: check-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test
	$(MAKE) test-jax

bench: data/elpv $(VENV)/dev-installed
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/branches.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/quick.py
	$(BIN)/python benchmarks/evaluate.py
	$(BIN)/python benchmarks/predict_again.py
	$(BIN)/python benchmarks/coverage.py

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
