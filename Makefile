# `make demo` and `make test` set up everything they need in .venv/ and run. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
CORES ?= 2
VENV := .venv
READY := $(VENV)/.ready
DEMO := results/demo

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help
help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

.PHONY: setup
setup: $(READY) ## install planeloc and its exact dependencies into .venv/

# The compiled fit is built at installation, and again when its sources change.
SOURCES := setup.py $(wildcard workflow/planeloc/fitting/compiled/*)

$(READY): envs/requirements.txt pyproject.toml $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'planeloc needs Python 3.11 to 3.13; run: make PYTHON=python3.12 (or the one you have)' >&2; exit 1; }
	@[[ -x $(VENV)/bin/pip ]] || $(PYTHON) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo 'Python cannot make environments; run: sudo apt install python3-venv' >&2; exit 1; }
	@command -v c++ g++ >/dev/null || \
	    echo 'no C++ compiler: refinement will take several times longer; to change that: sudo apt install g++' >&2
	@echo 'installing exact versions of everything into $(VENV)/ (up to 2 GB; some minutes, in silence)'
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement envs/requirements.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Under `flock` no other demo is running, so a lock that Snakemake finds was left by a run that was killed: hence --nolock.
.PHONY: demo
demo: $(READY) ## simulate an acquisition and process it: picture, table and report in results/demo/
	@mkdir -p $(DEMO)
	flock --nonblock --conflict-exit-code 75 $(DEMO)/.lock \
	    snakemake --cores $(CORES) --nolock --configfile config/demo/config.yaml || \
	    { code=$$?; [[ $$code != 75 ]] || echo 'make demo is already running in this folder; wait for it' >&2; exit $$code; }
	snakemake --cores 1 --nolock --configfile config/demo/config.yaml --report $(DEMO)/report.html >$(DEMO)/logs/report.log 2>&1 || \
	    { cat $(DEMO)/logs/report.log >&2; exit 1; }
	@planeloc report summary $(DEMO)/filaments $(DEMO)/report.html
	@echo; echo 'To use planeloc in this shell: source $(VENV)/bin/activate (then README.md, Your own data in five steps)'

.PHONY: test
test: $(READY) ## run the tests
	pytest --numprocesses $(CORES) --dist loadfile

.PHONY: reference
reference: $(READY) ## write docs/configuration.md and the schemas from the settings of the stages
	python workflow/schemas/write_reference.py

.PHONY: lint
lint: $(READY) ## check style of Python and of the workflow
	ruff check .
	ruff format --check .
	lint-imports --no-cache
	snakefmt --check Snakefile workflow reproduction/Snakefile reproduction/rules
	snakemake --lint --configfile config/demo/config.yaml
	snakemake --lint --snakefile reproduction/Snakefile

.PHONY: clean
clean: ## remove the demo's results and all caches; your own results stay
	rm -rf $(DEMO) .pytest_cache .ruff_cache .hypothesis build dist
	find workflow reproduction benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
