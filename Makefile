# The commands of the README. Everything else is `leukoscope --help`.
#
#   make demo              train, evaluate and report on painted cells
#   make demo DATA=folder  the same on a folder of images
#   make test              lint, types, tests, coverage
#   make bench             ours against what people would use (ONLY=training BATCH=16 ROUNDS=3 IMAGES=folder QUICK=1)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo

.PHONY: demo test bench lint clean

demo: $(VENV)/.train
	$(BIN)/leukoscope demo --out $(OUT) $(if $(DATA),--data "$(DATA)")

# Two workers on two cores: more threads in each would wait for one another (a third of the time).
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term-missing --durations=10

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.rivals $(foreach part,$(ONLY),--only $(part)) $(if $(BATCH),--batch $(BATCH)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(IMAGES),--images "$(IMAGES)") $(if $(QUICK),--quick)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "leukoscope needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.*
