# What can be made. `make` lists it; `make demo` and `make test` are all a newcomer needs.
#
#   make PYTHON=python3.12 test        with another Python
#   make test PYTEST_ARGS="-k table"   a part of the suite
#   make test PYTEST_ARGS="-n 0"       in one process; --pdb and "-p no:xdist" do so, too

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
SITE_STAMP := $(VENV)/.site
LATEST := .venv-latest
TYPES := $(VENV)/types
LATEX := latexmk texlive-publishers texlive-science texlive-latex-recommended texlive-fonts-recommended

.DEFAULT_GOAL := help
.PHONY: help demo evidence report-gpu test test-latest test-cuda lint types docs site dist bench gpu-check paper clean

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Runs once, and again when the requirements change. The package is installed editable; setuptools comes
# first so that it is the pinned one that builds.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Error: '$(PYTHON)' is not Python 3.11 or newer; name one that is: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); } || { \
	  rm -rf $(VENV); \
	  echo "Error: $(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (torch is large: minutes, the first time)" >&2
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip setuptools
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-build-isolation --constraint constraints.txt --group dev --editable .
	@touch $@

demo: $(STAMP)  ## Set up, train the comparison on the embedded data, print its table.
	$(BIN)/qsgd-lab reproduce --model alexnet --nodes 1,2,4,8
	@echo
	@echo "The runs are in runs/. Next:"
	@echo "  $(BIN)/qsgd-lab table --format text       the same table again, from the stored runs"
	@echo "  $(BIN)/qsgd-lab table > results.tex       as LaTeX"
	@echo "  $(BIN)/qsgd-lab variance --bits 1..8      the quantizer against the paper's formulas"
	@echo "  $(BIN)/qsgd-lab doctor                    what this machine has and lacks"

# What the paper says beyond the digits: real images, unlike nodes, a recurrent network, and other norms and buckets at
# eight nodes. Hours on two cores; stop it when you like, the same command goes on. LIMIT="--max-time 1h" stops it by
# itself, PLAN=--dry-run only prints plans with the time that they will take. `runs pack` then makes the file that
# `make paper` reads.
EVIDENCE ?= runs/evidence
LIMIT ?=
PLAN ?=
LAB = $(BIN)/qsgd-lab reproduce --runs $(EVIDENCE) $(LIMIT) $(PLAN)
ONE_BUCKET := norm=max,bucket_size=model
UNLIKE := "ef(qsgd(bits=2,$(ONE_BUCKET)))" "qsgd(bits=2,$(ONE_BUCKET))" \
  "ef(qsgd(bits=2,$(ONE_BUCKET),rounding=nearest))" "qsgd(bits=2,$(ONE_BUCKET),rounding=nearest)"
FRONTIER := "qsgd(bits=8,$(ONE_BUCKET))" "qsgd(bits=4,$(ONE_BUCKET))" "qsgd(bits=3,$(ONE_BUCKET))" \
  "ef(qsgd(bits=1,$(ONE_BUCKET),rounding=nearest))" \
  "qsgd(bits=2,norm=max,bucket_size=tensor)" "ef(qsgd(bits=1,norm=max,bucket_size=tensor))" \
  "qsgd(bits=2,norm=max)" "qsgd(bits=1,norm=max)" "ef(qsgd(bits=1,norm=max))" "ef(qsgd(bits=1,norm=max,rounding=nearest))" \
  "qsgd(bits=2)" "qsgd(bits=4,bucket_size=model)"

evidence: $(STAMP)  ## Train what the paper shows beyond the digits, and pack it: hours, resumable.
	$(LAB) --preset brackets --nodes 1,8
	$(LAB) --preset fashion --nodes 8 --seeds 0..4 --split dirichlet:0.1 $(addprefix --compressor ,$(UNLIKE))
	$(LAB) --preset fashion --nodes 1,2,4,8
	$(LAB) --preset fashion --nodes 8 --seeds 0..4 $(addprefix --compressor ,$(FRONTIER))
	$(LAB) --preset fashion --model alexnet --nodes 8 --seeds 0..4
	$(if $(PLAN),,$(BIN)/qsgd-lab runs pack $(EVIDENCE) -o paper/evidence.jsonl)

# Needs CIFAR-10, which it fetches where it is absent, and a CUDA device. Days on a small one: PLAN=--dry-run first.
report-gpu: $(STAMP)  ## Train the report's whole grid on CIFAR-10, on a GPU; PLAN=--dry-run prints the time.
	$(BIN)/qsgd-lab reproduce --preset report --model alexnet --model resnet50 --model resnet110 --nodes 1,2,4,8 \
	  --seeds 0..2 --runs runs $(if $(PLAN),,--device cuda --download) $(LIMIT) $(PLAN)

# A process for each core; one that has run out of tests takes some of the other's.
SIDE_BY_SIDE := $(if $(findstring no:xdist,$(PYTEST_ARGS)),,-n auto --dist worksteal)

test: $(STAMP)  ## Set up, run the whole suite, on all cores.
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

# A second environment with the newest release of every dependency that this machine's index has, but of those in KEEP
# (torch, whose newest release may be gigabytes of CUDA: `make test-latest KEEP=` takes it, too).
KEEP ?= torch
test-latest: pyproject.toml constraints.txt  ## The suite with the newest releases of all dependencies.
	@test -x $(LATEST)/bin/python || $(PYTHON) -m venv $(LATEST)
	@{ $(foreach name,$(KEEP),grep -i '^$(name)==' constraints.txt;) true; } > $(LATEST)/kept.txt
	$(LATEST)/bin/python -m pip install --quiet --upgrade pip setuptools
	$(LATEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --constraint $(LATEST)/kept.txt \
	  --group dev --editable .
	@$(LATEST)/bin/qsgd-lab --version
	$(LATEST)/bin/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

# An environment with numba-cuda, whose code is not Numba's own: compiled, read, counted and executed on the CPU.
CUDA_ENV := .venv-cuda
PTX_TESTS := tests/kernels/test_cuda_ptx.py tests/kernels/test_codec_ptx.py tests/kernels/test_machine_code.py
LONG ?=
test-cuda: $(STAMP)  ## numba-cuda's code read, counted, executed; LONG=1 tries more and all faults.
	@test -x $(CUDA_ENV)/bin/python || $(PYTHON) -m venv $(CUDA_ENV)
	$(CUDA_ENV)/bin/python -m pip install --quiet --upgrade "numba-cuda[cu13]" numpy scipy click rich platformdirs filelock \
	  pytest hypothesis setuptools nvidia-cuda-nvcc nvidia-cuda-nvdisasm
	PYTHONWARNINGS=ignore $(CUDA_ENV)/bin/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	$(CUDA_ENV)/bin/python -m pytest -q -W ignore::DeprecationWarning $(PTX_TESTS)  # numba-cuda names what NumPy drops
	NUMBA_ENABLE_CUDASIM=1 QSGD_LAB_PTX_PYTHON=$(CURDIR)/$(CUDA_ENV)/bin/python \
	  $(BIN)/python tests/ptx/compare.py $(if $(LONG),--long)
	$(BIN)/python tests/ptx/host_path.py
	QSGD_LAB_PTX=1 QSGD_LAB_MUTANTS=2000 QSGD_LAB_PTX_PYTHON=$(CURDIR)/$(CUDA_ENV)/bin/python \
	  $(BIN)/python -m pytest -q tests/cuda/test_codec_safety_cuda.py -k mutants

lint: $(STAMP)  ## Check style and formatting with ruff.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy does not follow the import hook of an editable install with mapped folders, so it is shown a folder
# of links in which cli and theory are where they are installed.
types: $(STAMP)  ## Check types with mypy, strictly.
	@rm -rf $(TYPES) && mkdir -p $(TYPES)/qsgd_lab
	@ln -s $(addprefix $(CURDIR)/,$(wildcard qsgd_lab/*) cli theory) $(TYPES)/qsgd_lab/
	cd $(TYPES) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml \
	  --cache-dir $(CURDIR)/.mypy_cache --package qsgd_lab

docs: $(STAMP)  ## Check that docs/cli.md, the README table, the paper and links are current.
	$(BIN)/python docs/scripts/make_cli_reference.py --check
	$(BIN)/python docs/scripts/make_readme_table.py --check
	$(BIN)/python docs/scripts/make_readme_figure.py --check
	$(BIN)/python docs/scripts/make_theory_page.py --check
	$(BIN)/python docs/scripts/make_presets_page.py --check
	$(BIN)/python docs/scripts/make_methods_page.py --check
	$(BIN)/python docs/scripts/make_comparing_page.py --check
	$(BIN)/python docs/scripts/make_benchmark_page.py --check
	$(BIN)/python docs/scripts/make_equal_bits_page.py --check
	$(BIN)/python docs/scripts/make_gpu_page.py --check
	$(BIN)/python docs/scripts/make_links_page.py --check
	$(BIN)/python docs/scripts/make_benchmarks_page.py --check
	$(BIN)/python paper/scripts/make_paper.py --check
	$(BIN)/python docs/scripts/check_links.py

# The tutorials run while it is built. A warning is an error, also in the second build, which reads what the first has kept.
$(SITE_STAMP): $(STAMP)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --group site
	@touch $@

site: $(SITE_STAMP)  ## Build the documentation site in build/site, offline; its tutorials run.
	$(BIN)/python docs/scripts/make_api_pages.py
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html --doctree-dir build/doctrees docs build/site
	$(BIN)/python docs/scripts/check_site.py build/site
	@echo "build/site/index.html"

# The wheel is tried where nothing but its dependencies is installed: out of the checkout, on the embedded data.
dist: $(STAMP)  ## Build sdist and wheel in dist/, check them, and run the wheel in an empty environment.
	@rm -rf dist build/dist
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --group dist
	$(BIN)/python -m build --no-isolation --outdir dist . >build-dist.log 2>&1 || { cat build-dist.log >&2; exit 1; }
	@rm -f build-dist.log
	$(BIN)/python -m twine check --strict dist/*
	sh docs/scripts/try_wheel.sh $(PYTHON) dist/*.whl

bench: $(STAMP)  ## Run the benchmarks (a quarter of an hour).
	@if ls benchmarks/test_*.py >/dev/null 2>&1; then \
	  $(BIN)/python -m pytest benchmarks/ --benchmark-only $(PYTEST_ARGS); \
	else echo "no benchmarks yet: benchmarks/ has no test_*.py"; fi

# Needs no network: with a virtual environment that is there already, or without one where python3 has the
# package (pip install --no-deps --no-build-isolation -e .).
MINUTES ?= 10
gpu-check:  ## Check and measure the CUDA kernels, in stages; DRY=1 without a device.
	@python=$$(test -x $(BIN)/python && echo $(BIN)/python || echo $(PYTHON)); $$python benchmarks/gpu_check.py --minutes $(MINUTES) $(if $(DRY),--dry)

# The runs are those that paper/results.tex was made from, or with RUNS=folder those of that folder, from which
# then paper/results.tex is made, too. The date is fixed so that the same runs give the same PDF.
paper: $(STAMP)  ## Build paper/paper.pdf, from the runs of its table or from RUNS=folder.
	$(BIN)/python paper/scripts/make_paper.py $(if $(RUNS),--runs "$(RUNS)")
	@{ command -v latexmk && kpsewhich IEEEtran.cls && kpsewhich booktabs.sty && kpsewhich siunitx.sty; } >/dev/null 2>&1 || { \
	  echo "Error: no LaTeX with latexmk, IEEEtran, booktabs and siunitx; on Debian: apt-get install $(LATEX)" >&2; exit 1; }
	@mkdir -p paper/build && cd paper && SOURCE_DATE_EPOCH=0 FORCE_SOURCE_DATE=1 latexmk -silent -pdf -interaction=nonstopmode \
	  -halt-on-error -outdir=build paper.tex >build/latexmk.out 2>&1 || { \
	  echo "Error: LaTeX stopped; paper/build/paper.log says where" >&2; exit 1; }
	@cp paper/build/paper.pdf paper/paper.pdf && echo "paper/paper.pdf"

clean:  ## Delete the virtual environment and everything generated; runs/ stays.
	rm -rf $(VENV) $(LATEST) $(CUDA_ENV) .ptx_cache build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks paper/build
	find qsgd_lab cli theory tests benchmarks docs paper -name __pycache__ -type d -prune -exec rm -rf {} +
