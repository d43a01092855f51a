# One command makes .venv, installs what is pinned, and does what was asked. `make help` lists the commands.
PARAMS ?= params/cpu.yaml
PYTHON ?= python3
PY := .venv/bin/python

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test lint unit notebooks lab refresh clean

# Runs $(2) under the title $(1) and says how long it took, also when it fails.
part = @echo "== $(1)"; start=$$SECONDS; status=0; ( $(2) ) || status=$$?; \
	echo "== $(1): $$((SECONDS - start)) s"; exit $$status

# Runs $(1) with the runs' folder in a new place, so that what an earlier run left behind can't be taken for this one's.
apart = tmp=$$(mktemp -d) || exit; trap 'rm -rf "$$tmp"' EXIT; export MARO_OUTPUTS="$$tmp/outputs"; $(1)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile
	@echo "  PYTHON=python3.12 with the first command chooses another Python (3.11 or newer)."

run: .venv/.ready ## run the notebooks into outputs/<run>/ [PARAMS=params/cpu.yaml] [ONLY=02,03] [FROM=03] [FRESH=1]
	@$(PY) -m maro_lib run "$(PARAMS)" $(if $(ONLY),--only "$(ONLY)") $(if $(FROM),--from "$(FROM)") $(if $(FRESH),--fresh)

test: lint unit notebooks ## check the style, run the tests, and compare every notebook with its stored outputs
	@echo "All passed."

lint: .venv/.ready
	$(call part,ruff,$(PY) -m ruff check . && $(PY) -m ruff format --check .)

unit: .venv/.ready
	$(call part,pytest,$(PY) -m pytest -n 2 --durations=10 tests)

# Two processes of one thread each: the notebooks that hand on to one another, and those that stand alone.
nbval = OMP_NUM_THREADS=1 $(PY) -m pytest --nbval --nbval-current-env --durations=10 $(1)
notebooks: .venv/.ready
	$(call part,nbval,$(call apart,$(call nbval,notebooks/0[2-7]*.ipynb) >"$$tmp/chain" 2>&1 & chain=$$!; \
		status=0; $(call nbval,notebooks/0[0189]*.ipynb) || status=$$?; \
		wait $$chain || status=$$?; cat "$$tmp/chain"; exit $$status))

lab: .venv/.ready ## open the notebooks in JupyterLab
	@$(PY) -m jupyter lab --LabApp.default_url=/lab/tree/notebooks/01_environment.ipynb

refresh: .venv/.ready ## execute the notebooks again, in place; an empty `git diff` then proves that nothing moved
	$(call part,refresh,$(call apart,for notebook in notebooks/*.ipynb; do $(PY) -m jupyter nbconvert \
		--to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
		--ExecutePreprocessor.coalesce_streams=True "$$notebook" || exit; done))

clean: ## remove .venv and the caches, never outputs/
	rm -rf .venv build maro_lib.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# The stamp is made last: an installation that was interrupted is completed by the next command.
.venv/.ready: requirements.txt pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON). Install Python 3.11 or newer," \
		"or name it: make run PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$("$(PYTHON)" -V)." \
		"Python 3.11 or newer is needed; name one: make run PYTHON=python3.12"; exit 1; }
	@echo "Installing requirements.txt into .venv: once, a few minutes, most of them for torch."
	@rm -f $@
	@$(PY) -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear .venv
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --upgrade
	@$(PY) -m pip install --disable-pip-version-check -r requirements.txt \
		| awk '/^Collecting/ {print "  " $$2} /^Installing collected/ {print "  all here, installing"} {fflush()}' \
		|| { echo "The installation did not finish; the same command goes on with it."; exit 1; }
	@touch $@
