# The two commands are `make demo` and `make test`; both begin with `make setup`, which returns at once when nothing
# that it depends on has changed.

VENV_PYTHON := .venv/bin/python
# Passed on, as in: make demo ARGS="--json out.json"; make test ARGS="-k features"
ARGS ?=

.PHONY: help setup demo test lint docs benchmark-quick lock clean

help:
	@echo "make demo    set up, then run the main job on a built-in simulated click log (ARGS: arguments of 'diet demo')"
	@echo "make test    set up, then lint, type-check and run every test (ARGS: arguments of pytest)"
	@echo "make docs    build the site into site/ (open site/index.html; ARGS: arguments of 'mkdocs build')"
	@echo "make benchmark-quick   the fidelity benchmark on a simulated log; fails unless refinement and start win"
	@echo "make setup   find Python 3.10 and make .venv with the locked packages"
	@echo "make lint    ruff and mypy"
	@echo "make lock    resolve setup.py and requirements.in into requirements.lock anew"
	@echo "make clean   remove .venv, .bootstrap and site"

setup:
	@scripts/setup.sh

demo: setup
	@$(VENV_PYTHON) -m diet_tf.cli demo $(ARGS)

lint: setup
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m mypy

test: lint
	@$(VENV_PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The theme has something to say about another program with each build.
docs: setup
	@NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --strict $(ARGS)

# The work folder is made anew, so that the figures are those of this checkout.
benchmark-quick: setup
	@rm -rf diet_runs/fidelity/simulated-quick
	@$(VENV_PYTHON) -m benchmarks.fidelity --dataset simulated --quick --check $(ARGS)

# Versions that still satisfy the requirements are kept; for newer ones add UPGRADE=--upgrade.
lock: setup
	@scripts/setup.sh lock $(UPGRADE)

clean:
	rm -rf .venv .bootstrap site
