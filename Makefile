# make book        read: build the book; needs no torch
# make pdf         print the built book into _build/book.pdf; needs Chromium
# make test        check: everything, on a CPU
# make chapters    execute the chapters (ALL=1: also recalling what the others train)
# make notebooks   execute the chapters whose script changed (ALL=1: every one)
# make assault     kill, break and damage what is kept; prints what was lost or believed
# make bench       measure speed and memory
# make findings    see whether libraries still do what findings/ says; needs a network
# make mutants     plant wrong versions: do the tests notice? An hour (ONLY=...: some of them)
# make lab         open the chapters in JupyterLab
# make clean       remove what was built, keep what was installed

PYTHON ?= python3
SELECT ?=
PIP = -m pip install -q --disable-pip-version-check
NOTEBOOKS = $$(find book -name '*.ipynb' -not -path '*/_*' -not -path '*/.*')
# Chapters without a `subset` train nothing; the others are tested in training (ALL=1: both).
EXECUTED = $(if $(ALL),$(NOTEBOOKS),$$(grep -L '"subset: int' $(NOTEBOOKS)))
# Reading has a small environment of its own, unless the large one is there already.
READER := $(if $(wildcard .venv/.ready),.venv,.venv-book)

.PHONY: book pdf test lint units chapters notebooks bench findings mutants assault lab clean
.DEFAULT_GOAL := book

# uv, where it can be had and reaches the packages, installs in a tenth of pip's time.
define install
	$(PYTHON) -m venv $(1)
	$(1)/bin/python $(PIP) uv && $(1)/bin/uv pip install -q --python $(1)/bin/python -r $(2) || \
	  $(1)/bin/python $(PIP) -r $(2)
endef

.venv-book/.ready: book/requirements.txt
	$(call install,.venv-book,book/requirements.txt)
	touch $@

.venv/.ready: requirements.txt book/requirements.txt pyproject.toml
	$(call install,.venv,requirements.txt)
	.venv/bin/python $(PIP) --no-deps -e .
	touch $@

book: $(READER)/.ready
	@$(READER)/bin/jupyter-book build . -q -W --keep-going -n
	@echo "Open it:  $(CURDIR)/_build/html/index.html"

pdf: .venv/.ready book
	.venv/bin/python book/_tools/pdf.py _build/html _build/book.pdf

test: lint units chapters
	@echo "All tests passed."

lint: .venv/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright

units: .venv/.ready
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --dist worksteal -m "$(SELECT)"

chapters: .venv/.ready
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --dist worksteal --nbmake \
	  --nbmake-timeout=600 tests/varied.py $(EXECUTED)

notebooks: .venv/.ready
	.venv/bin/python book/_tools/homework.py
	.venv/bin/python book/_tools/results.py
	.venv/bin/python book/_tools/findings.py
	.venv/bin/python book/_tools/notebooks.py $(if $(ALL),--all)
	@.venv/bin/jupyter-book build . -q -W --keep-going -n
	.venv/bin/python book/_tools/colab.py _build/html

assault: export PYTHONPATH = .:tests
assault: export OMP_NUM_THREADS = 1
assault: .venv/.ready
	.venv/bin/python tests/assault/kills.py
	.venv/bin/python tests/assault/faults.py
	.venv/bin/python tests/assault/damage.py

bench: .venv/.ready
	.venv/bin/python $(PIP) "pythae>=0.1.2" "pytorch-fid>=0.3.0"
	.venv/bin/python $(PIP) --no-deps "torchgan==0.1.0"
	.venv/bin/python $(PIP) "diffusers>=0.30" "denoising-diffusion-pytorch>=2.0"
	.venv/bin/python $(PIP) "x-transformers>=2.0" "transformers>=5.0"
	.venv/bin/python tests/bench/run.py
	.venv/bin/python tests/bench/adversarial.py
	.venv/bin/python tests/bench/diffusion.py
	.venv/bin/python tests/bench/drawing.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/graphs.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/disentanglement.py
	.venv/bin/python tests/bench/pixels.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/residual.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/latent.py
	.venv/bin/python tests/bench/autoregressive.py
	.venv/bin/python $(PIP) --no-deps "mambapy==1.2.0"
	.venv/bin/python tests/bench/states.py
	.venv/bin/python $(PIP) --no-deps "nflows==0.14" "normflows==1.7.3" "zuko==1.6.0"
	.venv/bin/python tests/bench/flows.py
	.venv/bin/python tests/bench/energy.py
	.venv/bin/python $(PIP) --no-deps "pythae==0.1.2" dill cloudpickle imageio pydantic pydantic-core annotated-types typing-inspection
	.venv/bin/python tests/bench/priors.py

findings:
	@PYTHON=$(PYTHON) findings/run.sh

mutants: .venv/.ready
	.venv/bin/python tests/mutants.py $(ONLY)

lab: .venv/.ready
	.venv/bin/jupyter lab --notebook-dir book

clean:
	rm -rf _build build dist .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
