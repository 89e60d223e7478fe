# Everything a user runs. PRESET, BOARD, IP, CLIP, N, SEED, SEEDS, MODEL, RECIPE, DATA and LINK are the only settings.
PRESET ?= small
BOARD ?= ulx3s-85f
IP ?=
# Boards with a network, for whose core more packages are needed
NETWORKED := ecpix5-85f
SEEDS ?= 1
N ?= 64
CLIP ?=
BUILD := build
VENV := .venv
PYTHON ?= python3.11
PY := $(VENV)/bin/python
RECIPE ?= svformer-nano
DATA ?=
LINK ?= uart
MODEL ?= golden/weights/svformer-nano.safetensors
JHMDB := golden/weights/spikevideoformer-jhmdb.safetensors golden/weights/svformer-jhmdb.safetensors
# System packages of a bare Debian 12: command:package
SYSTEM := g++:g++ make:make perl:perl git:git $(PYTHON):python3 python3-config:python3-dev
READY := $(VENV)/.installed
BUNDLE := $(BUILD)/svformer-nano.$(PRESET).bundle

.DEFAULT_GOAL := help
.PHONY: help setup doctor test sim formal demo train data baselines evaluate verify bench throughput verilog pnr sim-device board bitstream netlist-sim lint docs site pictures clean
.DELETE_ON_ERROR:

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## everything needed, into .venv; installs missing system packages as root, else names them

$(READY): pyproject.toml
	@missing=""; for pair in $(SYSTEM); do command -v $${pair%%:*} >/dev/null 2>&1 || missing="$$missing $${pair##*:}"; done; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
	  echo "missing system packages:$$missing"; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && apt-get install -qy $$missing; \
	  else echo "install them, then run make setup again: sudo apt-get install$$missing"; exit 1; fi; fi
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -e .
	@touch $@

doctor: ## every tool with its version, and what to do about a missing one
	@if [ -x $(PY) ]; then $(PY) -m sw doctor; else echo "no $(VENV): run make setup first"; exit 1; fi

test: $(READY) ## golden, software, hardware and the quick part of sim (minutes)
	$(PY) -m pytest -n 2 -m "not slow"

sim: $(READY) sim-device ## every RTL bench under random stalls, and whole clips through the driver (a new seed each time; SEED=n replays)
	TANDEM_SEED=$(or $(SEED),$(shell date +%s)) $(PY) -m pytest -n 2 sim hw

formal: $(READY) ## formal contracts of streams and queue
	$(PY) -m sim.formal

sim-device: $(READY) ## the Verilated device, build/PRESET/libdevice.so
	@$(PY) -m sim.device.build --preset $(PRESET)

board: $(READY) ## a simulated board, until Ctrl-C; prints the device that opens it: a serial line, with LINK=udp a network, LINK=ethernet from the pins
	$(if $(filter ethernet,$(LINK)),$(PY) -m pip install -q -e .[ethernet])
	@$(PY) -m sim.board --preset $(PRESET) --link $(LINK)

$(BUNDLE): $(MODEL) $(READY) $(wildcard sw/*.py golden/spec/*.py)
	@mkdir -p $(BUILD)
	@$(PY) -m sw compile $(MODEL) --preset $(PRESET) --out $@

$(BUILD)/demo.mkv: $(READY) golden/data/digit_motion.py
	@$(PY) -m golden data --out $(BUILD)/digit_motion --split test --count 8 --lossless
	@cp "$$(ls $(BUILD)/digit_motion/*/* | head -1)" $@

demo: sim-device $(BUNDLE) $(if $(CLIP),,$(BUILD)/demo.mkv) ## classify a video on the Verilated accelerator, check every bit, draw build/demo.png (CLIP=path)
	$(PY) -m sw classify "$(or $(CLIP),$(BUILD)/demo.mkv)" --bundle $(BUNDLE) --model $(MODEL) --device sim:$(PRESET) --verify --picture $(BUILD)/demo.png

verify: $(READY) ## quantised torch = integer golden = RTL on N test clips (64), every layer, stalling memory; goes on after a kill (MODEL=, DATA=)
	$(PY) -m sim.whole --preset $(PRESET) --clips $(N) --model $(MODEL) $(if $(DATA),--data $(DATA)) $(if $(SEED),--seed $(SEED))

bench: PRESET := base
bench: N := 16
bench: $(READY) ## cycles, utilisation, stalls by layer on N (16) clips: docs/results.md (of another PRESET build/results-PRESET.md), build/bench.json, trace.json (MODEL=, DATA=)
	$(PY) -m sim.speed --preset $(PRESET) --clips $(N) --model $(MODEL) $(if $(DATA),--data $(DATA)) $(if $(filter base,$(PRESET)),--sweeps,--page $(BUILD)/results-$(PRESET).md)

throughput: $(READY) ## the throughput test on null:, golden:, sim: and the simulated board, serial and UDP: docs/throughput.md (half an hour; DATA=J-HMDB)
	$(PY) -m sim.throughput --preset $(PRESET) --large $(JHMDB) $(if $(DATA),--data $(DATA))

train: $(READY) ## by a recipe, float, then quantisation-aware (8 minutes on one core; RECIPE=name DATA=folder); writes build/train
	$(if $(DATA),$(PY) -m pip install -q -e .[distill])
	$(PY) -m golden train $(RECIPE) $(if $(DATA),--data $(DATA))

evaluate: $(READY) ## accuracy, spikes, energy of float, quantised and integer model on the test part, and the baselines (MODEL=, DATA=)
	$(PY) -m golden eval $(MODEL:.safetensors=_float.safetensors) $(if $(DATA),--data $(DATA)) --no-baselines
	$(PY) -m golden eval $(MODEL:.safetensors=_qat.safetensors) $(if $(DATA),--data $(DATA)) --no-baselines
	$(PY) -m golden eval $(MODEL) $(if $(DATA),--data $(DATA))
	$(PY) -m golden compare $(MODEL) $(if $(DATA),--data $(DATA))

verilog: $(READY) ## build/PRESET/accelerator.v
	$(PY) -m hw verilog --preset $(PRESET) --out $(BUILD)/$(PRESET)/accelerator.v

pnr: $(READY) ## synthesis, place and route: area by block and clock, build/PRESET/pnr (ten minutes for small, half an hour for base-85f; base has more block RAM than the chip; MHZ= that the router is to reach, SEED=)
	$(PY) -m hw pnr --preset $(PRESET) $(if $(MHZ),--mhz $(MHZ)) $(if $(SEED),--seed $(SEED))

bitstream: $(READY) ## build/BOARD/BOARD.bit by open tools; fails where its clock is not met (BOARD=ulx3s-85f|ecpix5-85f|icebreaker|tangnano20k SEEDS=n IP=a.b.c.d; a quarter of an hour, Tang Nano 40 minutes)
	$(if $(filter $(NETWORKED),$(BOARD)),$(PY) -m pip install -q -e .[ethernet])
	@$(PY) -m hw bitstream $(BOARD) --seeds $(SEEDS) $(if $(IP),--ip $(IP))

netlist-sim: $(READY) ## a clip through the driver on the synthesised netlist, with the cell models that yosys ships, every layer (PRESET=, MODEL=)
	$(PY) -m sim.netlist --preset $(PRESET) --model $(MODEL)

docs: $(READY) ## the generated pages: docs/registers.md, docs/descriptor.md, docs/presets.md, docs/link.md
	$(PY) -m golden.spec.pages

site: $(READY) ## the documentation as a site, build/site/index.html; any warning is an error
	$(PY) -m pip install -q -e .[docs]
	$(PY) -m sphinx -q -W --keep-going -b html docs $(BUILD)/site
	@echo "$(BUILD)/site/index.html"

pictures: $(READY) ## docs/stream.svg, a live stream; docs/overlap.svg, host, line and machine at the same time (minutes)
	$(PY) -m sim.pictures

lint: $(READY) ## style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

clean: ## remove everything that was built (not .venv)
	rm -rf $(BUILD)
