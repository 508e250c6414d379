# Every target sets up what it needs by itself: `.venv` from the hashed requirement files, programs by `lab`.
# Paths are relative, so a checkout in a folder with a space in its name works.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON ?=
VARIANT ?=
SEED ?=
HOLD ?=
MINUTES ?=
KEEP ?=
NAME ?=
ROUNDS ?=
ONLY ?=
WRITE ?=

BIN := .venv/bin/python
LAB := $(BIN) -m chaos.cli
# GNU make turns every failure into 2; the wrapper prints the exit code that means something.
VERDICT := $(BIN) scripts/verdict.py
SETUP = PYTHON='$(PYTHON)' sh scripts/bootstrap.sh
# Without set-up nothing can be judged, which is a verdict too.
JUDGEABLE = @$(SETUP) runtime || { code=$$?; echo "verdict=ERROR exit=$$code"; exit $$code; }
variant = $(if $(VARIANT),--variant '$(VARIANT)')
seed = $(if $(SEED),--seed '$(SEED)')
hold = $(if $(HOLD),--hold '$(HOLD)')
keep = $(if $(KEEP),--keep)
minutes = $(if $(MINUTES),--minutes '$(MINUTES)')
only = $(if $(ONLY),--only '$(ONLY)')

.PHONY: help setup nemesis up down status logs heal doctor test test-full bench lint render clean runtime development always

help: ## Show this
	@echo "Firedrill: break a real service on purpose, and see whether the right person would be told in time."
	@echo
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { name = $$1; sub(/%/, "N", name); printf "  make %-12s %s\n", name, $$2 }' Makefile
	@echo
	@echo "Variables: VARIANT=id|all  SEED=n  MINUTES=5  HOLD=30m  KEEP=1  NAME=daemon  ROUNDS=n  ONLY=a,b  PYTHON=/path/to/python"

drill-%: always ## Break it, watch, fix it, and judge the detection (VARIANT= SEED= KEEP=1)
	$(JUDGEABLE)
	@$(VERDICT) drill '$*' $(variant) $(seed) $(keep)

scenario-%: always ## Break it and leave it broken for HOLD=30m (VARIANT= SEED=)
	$(JUDGEABLE)
	@$(VERDICT) scenario '$*' $(variant) $(seed) $(hold)

fix-%: always ## Apply the remedy of a scenario that is held
	$(JUDGEABLE)
	@$(VERDICT) fix '$*'

nemesis: ## Break everything by a seeded schedule under load, and count what was lost (SEED= MINUTES=5)
	$(JUDGEABLE)
	@$(VERDICT) nemesis $(seed) $(minutes) $(only) $(keep)

up: runtime ## Start the stack of this checkout
	@$(LAB) up

down: runtime ## Stop it
	@$(LAB) down

status: runtime ## Every daemon, firing alerts, the run that is active
	@$(LAB) status

logs: runtime ## Logs of one daemon (NAME=api-1)
	@$(LAB) logs $(if $(NAME),'$(NAME)')

heal: runtime ## Put everything back to the baseline, whatever happened
	@$(LAB) heal

doctor: runtime ## What this machine has, what is missing and what that costs
	@$(LAB) doctor

test: development ## Static checks and every suite, with time per suite
	@$(BIN) scripts/run_tests.py

test-full: development ## The same with every variant, every seed and the long runs
	@$(BIN) scripts/run_tests.py --full

bench: runtime ## Speed against Celery, RQ, a bare handler and COPY (ROUNDS=5 ONLY=jobs,trigger,... WRITE=1)
	@$(SETUP) bench
	@$(BIN) -m bench $(if $(ROUNDS),--rounds '$(ROUNDS)') $(if $(ONLY),--only '$(ONLY)') $(if $(WRITE),--write)

lint: development ## Static checks only
	@$(BIN) scripts/run_tests.py --checks-only

render: runtime ## Write the generated documents again
	@$(BIN) -m scripts.render_docs

setup: development ## Install everything that the targets above would install by themselves

clean: ## Stop the stack, then remove the environments, reports and caches of this checkout
	@if [ -x $(BIN) ] && [ -x .venv/bin/lab ]; then $(LAB) down || true; fi
	rm -rf .venv .venv-bench reports .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@$(SETUP) runtime

development:
	@$(SETUP) development

always:
