# GNU make and bash. `make help` lists the targets; each makes what it needs in .venv first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

SCALE ?= smoke
OUT ?= results/garcia-2018-$(SCALE)
STUDY ?= garcia-2018 miech-2016
REFERENCES ?= data/reference

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
READY := $(VENV)/.ready

# The tests start a thousand processes. Each that imports aiohttp or tornado would read a hundred
# certificates, which no test needs; and what was compiled is kept, also where the machine says that
# Python is to write no bytecode. A `make` that a test runs shares no jobs with this one.
PYTEST := MAKEFLAGS= SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/dev/null PYTHONDONTWRITEBYTECODE= $(BIN)/pytest

# Neither the tests nor the notebooks' checks judge a time, so that several may run at a time. Three
# on two cores end sooner than two: each waits for the processes that it starts.
PARALLEL := -n 3

# Every stored output of a strict notebook is compared, so no cell of one may print a time; that may
# be none. In the others the cells tagged for it are compared.
NOTEBOOKS_STRICT :=
NOTEBOOKS_LAX := $(filter-out $(NOTEBOOKS_STRICT),$(sort $(wildcard notebooks/*.ipynb)))
# A notebook is no Python module, its cells have an order, and one cell may hold a whole study.
# The cells of one notebook need the same kernel, which is what `loadscope` keeps.
NBVAL := $(PYTEST) -p nbval_kernels -p no:python -p no:randomly --nbval-current-env \
	--nbval-cell-timeout=300 --timeout=330 $(PARALLEL) --dist loadscope

.PHONY: help setup reproduce reference test lint tests coverage mutants lab notebooks breaks exercises browser pythons size format lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## install labkit and all it needs into .venv, as locked

reproduce: $(READY) ## run the published benchmark again; SCALE=smoke|workshop|paper
	$(BIN)/labkit reproduce garcia-2018 --scale $(SCALE) --out $(OUT)

# Of each STUDY a file is written when all its runs are there. For a quiet machine: docs/guide.md
# has how long it takes.
reference: SCALE = workshop
reference: $(READY) ## measure the stored references anew; STUDY=garcia-2018 SCALE=workshop
	mkdir -p $(REFERENCES)
	for study in $(STUDY); do \
		$(BIN)/labkit reproduce $$study --scale $(SCALE) --repeats 5 --programs none \
			--out results/reference/$$study --save-reference $(REFERENCES)/$$study.json; \
	done

# The browser's tests wait far more than they compute: beside the others they take no time of their
# own. The notebooks' trials compute on both cores, so that nothing runs beside them.
test: $(READY) ## run every check: lint, types, tests, browser, other Pythons, notebooks
	@$(MAKE) --no-print-directory --jobs=2 lint tests browser pythons
	@$(MAKE) --no-print-directory notebooks

lint: $(READY) ## check style, format, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

tests: $(READY) ## run the tests of tests/ but for the browser's
	$(PYTEST) $(PARALLEL) -p no:nbval -m 'not browser'

coverage: $(READY) ## run the tests with branch coverage, which takes about a third longer
	$(PYTEST) $(PARALLEL) --cov -m 'not browser'

# In slices: MODULE='stats/*.py' (or several), SAMPLE=100 of each. What was run is not run again.
mutants: export MODULE := $(MODULE)
mutants: export SAMPLE := $(SAMPLE)
mutants: $(READY) ## change the pure modules place by place, list what no test notices
	$(BIN)/python tests/mutants.py

lab: $(READY) ## copy the notebooks into labkit-workspace/, open JupyterLab there
	$(BIN)/labkit lab

notebooks: export LABKIT_SCALE := smoke
notebooks: export LABKIT_LIVE := 0
notebooks: export LABKIT_RETRY := 0
notebooks: export UV_OFFLINE := 1
notebooks: export PYTHONPATH := tests
notebooks: export LABKIT_STORE := $(CURDIR)/results/notebooks
notebooks: $(READY) ## run the notebooks and compare what they say with what is stored
	@test -n "$(NOTEBOOKS_STRICT)$(NOTEBOOKS_LAX)" || { echo "notebooks/ is empty" >&2; exit 1; }
	$(if $(NOTEBOOKS_STRICT),$(NBVAL) --nbval $(NOTEBOOKS_STRICT))
	$(if $(NOTEBOOKS_LAX),$(NBVAL) --nbval-lax $(NOTEBOOKS_LAX))

# One after another, in a quarter of an hour: BREAK=03_event_loops (or several) for these only.
breaks: export LABKIT_SCALE := smoke
breaks: export LABKIT_LIVE := 0
breaks: export LABKIT_RETRY := 0
breaks: export UV_OFFLINE := 1
breaks: export LABKIT_STORE := $(CURDIR)/results/notebooks
breaks: $(READY) ## break what each verdict of the notebooks checks, and see its cell fail
	$(BIN)/python tests/breaks.py $(BREAK)

# They are made from the solutions in the notebooks and fail until they are solved, so that they are
# not among those that `make notebooks` runs. A test makes them again and compares.
exercises: $(READY) ## write notebooks/exercises anew from the solutions in the notebooks
	$(BIN)/python notebooks/make_exercises.py

# Each worker has a JupyterLab and a Chromium of its own. They wait far more than they compute.
browser: $(READY) ## drive JupyterLab in Chromium; leaves screenshots in results/browser
	$(PYTEST) -n 2 -p no:nbval --dist worksteal -m browser tests/browser

pythons: $(READY) ## run the quick tests on the other Pythons at hand; PYTHONS='3.13 3.14'
	MAKEFLAGS= PYTHONDONTWRITEBYTECODE= VENV=$(VENV) PYTHONS="$(PYTHONS)" .ci/pythons

size: $(READY) ## print the size of the package by folder, and its limits
	$(BIN)/python tests/size.py

format: $(READY) ## put code and notebooks in the project's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(UV) ## write requirements.lock from pyproject.toml; LOCK_FLAGS=--upgrade for newer versions
	$(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 \
		--all-extras --group build --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' --output-file requirements.lock $(LOCK_FLAGS)

clean: ## remove .venv, caches and builds; results/ stays
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	find labkit tests notebooks -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements.lock | $(UV)
	$(UV) pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@# Where Python may not write bytecode, as in many containers, each of the thousands of processes
	@# that the tests and the trials start would compile anew what it imports.
	@$(BIN)/python -m compileall -q labkit
	@touch $@

# A name on the PATH need not work (a version manager's shim for a version that is not chosen), and
# a Python may come without venv: each is tried.
USABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))

$(UV):
	@for python in "$(PYTHON)" python3 python3.14 python3.13 python3.12 python3.11; do \
		if "$$python" -c '$(USABLE)' >/dev/null 2>&1; then \
			"$$python" -m venv --clear $(VENV); \
			awk '/^[^ ]/ { uv = /^uv==/ } uv' requirements.lock > $(VENV)/uv.txt; \
			$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
				--requirement $(VENV)/uv.txt; \
			exit; \
		fi; \
	done; \
	echo "labkit needs Python 3.11, 3.12, 3.13 or 3.14 with its venv module, and none was found: install \
	one, or name it with 'make PYTHON=/path/to/python3'." >&2; \
	exit 1
