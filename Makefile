# The index of what one can do here: `make help`.

PYTHON ?= python3
RUN := tools/with_ros
INPUT ?=
OUTPUT ?= demo_output
CONFIG ?= config/training/lite_coco.yaml
PYTEST ?= python -m pytest -n auto --maxprocesses=4 --dist=loadfile

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slow matrix bench lint format reference train clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

env:  ## Set everything up in .venv (seconds when it is there): packages, ROS 2, messages
	@$(PYTHON) tools/setup_env.py

demo:  ## Run camera and node on real ROS 2; INPUT=image, folder, video or rosbag2; OUTPUT=folder
	@$(PYTHON) tools/setup_env.py demo
	@$(RUN) python -m e2ec_ros.demo --output "$(OUTPUT)" $(if $(INPUT),--input "$(INPUT)")

test: env  ## Run the tests
	@$(RUN) $(PYTEST) -m "not slow"

test-slow: env  ## Run the slow tests too: colcon builds, long training checks
	@$(RUN) $(PYTEST)

matrix:  ## Run the tests with other Pythons, ROS, NumPy, OpenCV: docs/distros.md; CELLS="names"
	@$(PYTHON) tools/matrix.py $(CELLS)

bench: env  ## Run the benchmarks of a CPU (under ten minutes), with the committed tables beside
	@$(RUN) python benchmarks/bench.py

lint: env  ## Check style and types
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

format: env  ## Format the code
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

reference: env  ## Write docs/reference.md, parameters and messages, from the code
	@$(RUN) python tools/write_reference.py

train: env  ## Train the lite model; CONFIG=file (tools/with_ros e2ec lists all commands)
	@$(RUN) e2ec train --config "$(CONFIG)"

clean:  ## Remove the environment and everything built
	rm -rf .venv .matrix build install log .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
