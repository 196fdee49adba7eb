# Every target sets up .venv first where it needs one; nothing else has to be installed by hand.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
GRID ?= small
STORE ?= runs
ARGS ?=
BIN := .venv/bin

.PHONY: help install study test faults kills damage files lint docs bench dashboard screenshots browser network clean

help:
	@echo "make study [GRID=paper] [STORE=runs] [ARGS='--cohorts cohorts.toml']   run a study to its table"
	@echo "make dashboard [STORE=runs]   look at the last study"
	@echo "make test | faults (kills, damage, files) | lint | docs | bench | screenshots | install | clean"

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ $(PYTHON) -m pip install --quiet --user virtualenv && $(PYTHON) -m virtualenv --quiet .venv; }
	@echo "installing into .venv (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

study: install
	@$(BIN)/python -m study.run --grid $(GRID) --store $(STORE) $(ARGS)

dashboard: install
	@$(BIN)/python -m streamlit run dashboard/app.py -- --store $(STORE) $(ARGS)

# Two processes: much of the time goes into waiting for Ray and browsers.
test: install browser network
	@$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

# Kills of every kind, several of each, then damages of every kind of file, and damaged scans and
# folders by the thousand; the tests do a few.
faults: kills damage files

kills: install
	@$(BIN)/python -m tests.faults $(ARGS)

damage: install
	@$(BIN)/python -m tests.faults.damage $(ARGS)

files: install
	@FILES=170 FOLDERS=2000 KILLS=10 $(BIN)/python -m pytest tests/datasets/test_nifti_fuzz.py \
		tests/datasets/test_folder_fuzz.py tests/study/preparation/test_kills.py $(ARGS)

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The page of the commands, from their --help.
docs: install
	@$(BIN)/python docs/make_commands.py

bench: install
	@$(BIN)/python -m benchmarks --out benchmarks/results.json $(ARGS)

screenshots: install browser
	@$(BIN)/python -m benchmarks.screenshots $(ARGS)

# Chromium for the browser tests, from the distribution's packages.
SUDO := $(shell test "$$(id -u)" = 0 || command -v sudo)
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		{ $(SUDO) apt-get update -qq && \
		  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }

# The program that makes networks, for the tests of a cluster of several machines.
network:
	@command -v ip >/dev/null || \
		{ $(SUDO) apt-get update -qq && \
		  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends iproute2; }

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
