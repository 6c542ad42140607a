# Sets up what it needs in .venv and runs there; `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
comma := ,
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help demo test-quick test test-all lint docs clean

help:
	@echo "make demo        train and analyze a small study from nothing into demo/"
	@echo "make test-quick  run the tests of analysis, readers, study, selection and one tiny fleet"
	@echo "make test        run the tests, less those marked slow"
	@echo "make test-all    run all the tests"
	@echo "make lint        check style, formatting and types"
	@echo "make docs        build the documentation into site/; open site/index.html"
	@echo "make clean       remove the environment and everything made"
	@echo "PYTHON=python3.12 make ... picks the interpreter (3.11 or newer)"

demo: $(VENV)/train
	@$(BIN)/transferscope demo --out demo

# Under a minute on two cores.
QUICK := tests/test_house.py tests/test_words.py tests/tasks tests/study tests/matrix/test_matrix.py \
	tests/analysis/test_noise.py tests/readers/test_readers.py tests/readers/test_real_files.py \
	tests/readers/test_merging.py tests/selection/test_selection.py tests/execution/test_run_state.py \
	'tests/engine/test_fleet.py::test_a_fleet_equals_separate_peft_runs_step_by_step[qwen2_5_vl-reply]'

test-quick: $(VENV)/dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile $(QUICK)

# A worker for each core; torch's threads would spin beside each other's.
test: $(VENV)/dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-all: $(VENV)/dev
	@$(BIN)/python -m pytest

lint: $(VENV)/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --threads --pythonpath $(BIN)/python

# Warnings are errors: a broken link, an unknown name.
docs: $(VENV)/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

clean:
	@rm -rf $(VENV) demo site dist .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is newer than the two files it was installed from; `dev` is all that the tests use.
define install
	@$(PYTHON) -c 'import sys; sys.exit("transferscope needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/pip || { echo "creating $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.$(1)'
endef

$(VENV)/train: pyproject.toml constraints.txt
	$(call install,[train])
	@touch $@

$(VENV)/docs: pyproject.toml constraints.txt
	$(call install,[docs])
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt
	$(call install,[train$(comma)quant$(comma)video$(comma)xlsx$(comma)dev])
	@touch $(VENV)/train $@
