# `make help` lists what there is. Everything runs in .venv, which the first command makes.
# PyTorch without CUDA: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
# the versions that we used: make demo PIP_FLAGS="-c constraints.txt"
PYTHON ?= python3
BIN := .venv/bin
NB ?=
FLAGS ?=
STICK ?= stick
PIP_FLAGS ?=
TORCH_INDEX ?=

.DEFAULT_GOAL := help
.PHONY: help demo app lab test test-page notebooks export readme clean-nbs lint docs workshop stick

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

demo: .venv/.installed  ## draw pictures from scene graphs with the shipped weights
	$(BIN)/sgdiff demo

app: .venv/.installed-dev  ## the graph editor in the browser
	$(BIN)/python -m voila nbs/app/editor_app.ipynb --Voila.config_file_paths=nbs/app

lab: .venv/.installed-dev  ## the notebooks in JupyterLab, at chapter 0
	$(BIN)/jupyter lab nbs --LabApp.default_url=/lab/tree/method/00_a_picture_from_a_graph.ipynb

test: .venv/.installed-dev  ## run every notebook (shortened) and tests/, in two processes
	$(BIN)/python -m pytest -v -n 2 --durations=20

test-page: .venv/.installed-dev  ## the page that draws, used in a browser: some minutes, with nothing beside it
	SGDIFF_TEST_PAGE=1 $(BIN)/python -m pytest -v tests/test_page.py

notebooks: .venv/.installed-dev  ## run the notebooks at full budget, outputs written back; some only: NB="04 vae"
	$(BIN)/python tools/run_notebooks.py --write $(NB)

export: .venv/.installed-dev  ## make the modules of sgdiff/ from the notebooks
	$(BIN)/nbdev_export

readme: .venv/.installed-dev  ## make README.md from nbs/index.ipynb
	$(BIN)/python tools/make_readme.py

clean-nbs: .venv/.installed-dev  ## take out of the notebooks what changes from run to run
	$(BIN)/python tools/run_notebooks.py --clean $(NB)

lint: .venv/.installed-dev  ## look for undefined names, likely mistakes and wrong types
	$(BIN)/ruff check sgdiff tests tools benchmarks
	$(BIN)/mypy

docs: .venv/.installed-dev  ## build the site into _docs/, slides included (npm, of Node.js, fetches its scripts); with Quarto: FLAGS=--quarto
	$(BIN)/python tools/build_docs.py $(FLAGS)

workshop: .venv/.installed-dev  ## make the workshop's notebooks for students from the solutions
	$(BIN)/python tools/make_workshop.py

stick: docs  ## all that a workshop without a network needs, in one folder: STICK=/media/usb/workshop
	@mkdir -p "$(STICK)/sgdiff"
	$(BIN)/python -m pip wheel --wheel-dir "$(STICK)/wheelhouse" $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(PIP_FLAGS) 'setuptools>=77' wheel '.[workshop]'
	git archive HEAD | tar -x -C "$(STICK)/sgdiff"
	rm -rf "$(STICK)/site"
	cp -R _docs "$(STICK)/site"

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# alone and without what it needs: that comes from the usual index, with the package
TORCH = $(if $(TORCH_INDEX),$(PIP) $(PIP_FLAGS) --no-deps --index-url $(TORCH_INDEX) 'torch>=2.11' 'torchvision>=0.26')

# Stamps: installation happens once, and again when pyproject.toml changes.
.venv/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing sgdiff and PyTorch into .venv: a few minutes the first time ..."
	$(TORCH)
	$(PIP) $(PIP_FLAGS) -e .
	@touch $@

.venv/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing sgdiff, PyTorch and the tools for development into .venv: a few minutes the first time ..."
	$(TORCH)
	$(PIP) $(PIP_FLAGS) -e '.[dev]'
	@touch .venv/.installed $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sgdiff needs Python 3.11 or newer; name one: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
