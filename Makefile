# Every target sets up .venv first, from the lock files; a second call finds it ready.
PYTHON ?= python3
BIN := .venv/bin
PROFILE ?= quick
# Notebooks at once: much of a short one is start-up, and they share the processor.
J ?= 2

.PHONY: book test test-slow test-spark coverage lint notebooks lab bench mlflow tensorboard env
.DEFAULT_GOAL := book

env:
	@$(PYTHON) tools/environment.py

# Get the data, run every notebook that isn't up to date, render to _book/.
book: env
	@$(BIN)/ecglib book --profile $(PROFILE) -j $(J)

test: env
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The tests of Spark, which wants Java 17 or 21: PySpark lies beside the environment, which stays as it is.
test-spark: .venv-spark
	@PYTHONPATH=.:.venv-spark $(BIN)/python -m pytest tests/spark $(ARGS)

.venv-spark: requirements-spark.lock | env
	@rm -rf $@ $@.tmp
	@$(BIN)/python -m pip install --quiet --no-deps --target $@.tmp -r $<
	@mv $@.tmp $@ && touch $@

# What takes minutes: every network exported, kills of a batch, a served model.
test-slow: env
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m long $(ARGS)

# How much of the code that makes numbers the golden trainings reach, branches too.
coverage: env
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 2 tests/golden/test_golden.py
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under 95 --include "$$(grep -v ^# tests/golden/rooms.txt | paste -sd, -)"
	@$(BIN)/coverage report --fail-under 85 --include "ecglib/data/records.py"

lint: env
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# notebooks/*.ipynb from the text notebooks, for papermill.
notebooks: env
	@$(BIN)/ecglib notebooks

# JupyterLab on loopback; saving a notebook there writes its text form.
lab: notebooks
	@$(BIN)/jupyter lab --ip 127.0.0.1 --notebook-dir notebooks

# What takes longer than a test: speed, and 20 kills of a training.
bench: env
	@$(BIN)/python -m pytest tests/bench/test_*.py -s

mlflow: env
	@$(BIN)/ecglib mlflow

# The trials of every search, epoch by epoch.
tensorboard: env
	@$(BIN)/tensorboard --logdir runs/tuning --host 127.0.0.1
