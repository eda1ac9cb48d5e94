# `make demo` runs the main job on real data, `make test` checks everything; each makes its environment first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

PANEL  ?= sales
CONFIG ?= configs/default.yaml
DATA   ?= $(or $(FORECASTER_DATA),../shared/data)
RUN    ?= $(PANEL)@current

.PHONY: help demo test lint types floors unit coverage slow m4_hourly soak peers network_peers lock ingest train evaluate predict promote report nightly clean

help: ## What there is to make
	@grep -hE '^[a-z_0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z_0-9]+):.*## */  make \1\t/' | expand -t 20

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==$$(sed -n 's/^torch==//p' requirements.lock)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## The main job on data that ships with statsmodels, in demo/
	$(BIN)/forecast demo

test: lint types floors unit ## Lint, types, floors and tests

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/mypy

floors: $(READY)
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

coverage: $(READY) ## The same tests, and which lines they leave out; it takes twice their time
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" --cov --cov-report=term

slow: $(READY) ## The tests that take minutes
	$(BIN)/python -m pytest -m slow

m4_hourly: $(READY) ## M4 Hourly from the benchmark data, scored against the competition's test part
	$(BIN)/python benchmarks/m4_hourly.py --data $(DATA)

ingest: $(READY) ## Take files into a panel: make ingest PANEL=sales FILES='sales/*.csv'
	$(BIN)/forecast ingest $(FILES) --name $(PANEL)

train: $(READY) ## Train on a panel: make train PANEL=sales CONFIG=configs/default.yaml
	$(BIN)/forecast train $(CONFIG) --panel $(PANEL)

soak: $(READY) ## Kill a stream 300 times over two real feeds, fill its disk, flip its bytes
	$(BIN)/python benchmarks/soak.py --data $(DATA)

evaluate: $(READY) ## Score the run in service against the baselines: make evaluate PANEL=sales, or RUN=…
	$(BIN)/forecast evaluate $(RUN)

predict: $(READY) ## Forecast with the run in service: make predict PANEL=sales OUT=forecasts.csv
	$(BIN)/forecast predict $(RUN) --out $(or $(OUT),forecasts/$(PANEL).csv)

promote: $(READY) ## Let a run serve its panel: make promote RUN=sales-20240501-021500
	$(BIN)/forecast runs promote $(RUN)

report: $(READY) ## The page of the run in service: make report PANEL=sales, or RUN=macro-demo
	$(BIN)/forecast report $(RUN)

nightly: CONFIG := configs/nightly.yaml
nightly: $(READY) ## A panel's whole night: make nightly PANEL=sales CONFIG=configs/nightly.yaml
	$(BIN)/forecast nightly $(CONFIG) --panel $(PANEL) $(ARGS)

peers: ## An environment of its own for statsforecast, which wants an older pandas, in .peers/
	$(PYTHON) -m venv .peers
	.peers/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/peers/requirements.txt

network_peers: ## An environment of its own for neuralforecast, darts and GluonTS, in .peers/networks/
	$(PYTHON) -m venv .peers/networks
	.peers/networks/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/peers/networks.txt

lock: ## Pin what is installed in the environment now
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip | sed -E 's/^(torch==[0-9.]+)\+cpu/\1/' > requirements.lock

clean: ## Remove the environment and the demo
	rm -rf $(VENV) demo
