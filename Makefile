# demo: install, run the demo study, print where its report is.  test: everything .ci/run checks.
# studies: every shipped study in full, then results/ and docs/findings.md (DATA=DIR, STORE=DIR).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# The shipped studies in the order in which they run; what is in STORE already is not run again.
STUDIES := prune-ready prune-ready-output prune-ready-baselines frankle-carbin winning-tickets random-pruning neuron-sparsity \
	reduced-parameters reduced-parameters-longer dense-supermasks dense-supermasks-wide dense-supermasks-ablation custom-init prune-ready-conv prune-ready-conv-full
STORE ?= runs
DATASETS := mnist fashion_mnist cifar10
FROM = $(if $(DATA),--data "$(DATA)")

.PHONY: demo test long lint docs foreign clusters bench studies publish data clean

demo: $(STAMP)
	$(BIN)/sweepstake demo

test: $(STAMP) lint
	$(BIN)/python -m pytest

# The tests that `make test` leaves out: every foreign network, a wheel in an empty environment, kernels of another CPU, clusters. Minutes.
long: $(STAMP)
	$(BIN)/python -m pytest -m long

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/python docs/generate.py --check

# The generated pages, then the site: docs/_build/html/index.html.
docs: $(STAMP)
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -q -W --keep-going -n -c docs . docs/_build/html

# Every network of the zoo thinned and compared, the slow ones too, and the page about them written anew. Minutes.
foreign: $(STAMP)
	$(BIN)/python -m pytest -m "long or not long" tests/tickets/test_networks.py
	$(BIN)/python bench/foreign.py --write

# Runs under a real Slurm of one node, which Debian's slurm-wlm brings, and what every executor promises under Ray. Minutes.
clusters: $(STAMP)
	$(BIN)/python -m pytest -n 0 -m long tests/run/test_slurm.py tests/run/test_executors.py

bench: $(STAMP)
	$(BIN)/python bench/run.py

# Every study to its end, then its files in results/ and the pages.
studies: data
	$(call each,$(BIN)/sweepstake run $$study $(FROM) --store "$(STORE)" && $(BIN)/sweepstake publish $$study --store "$(STORE)")

# The files in results/ and the pages again, from what is in STORE; trains nothing.
publish: $(STAMP)
	$(call each,$(BIN)/sweepstake publish $$study --store "$(STORE)")

# A study that fails is told at the end and stops no other; Ctrl-C stops all.
define each
@failed=; for study in $(STUDIES); do \
	{ $(1); } || { [ $$? -ne 130 ] || exit 130; failed="$$failed $$study"; }; \
done; $(BIN)/python docs/generate.py && [ -z "$$failed" ] || { echo "make $@: not published:$$failed. Why is said above." >&2; exit 1; }
endef

data: $(STAMP)
	@for name in $(DATASETS); do $(BIN)/sweepstake data $(FROM) 2>/dev/null | grep -Eq "^$$name	(ready|found)" || { \
		echo "make studies: $$name is not here. Say where with make studies DATA=DIR, or get it with $(BIN)/sweepstake data fetch $$name." >&2; exit 1; }; done

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sweepstake needs Python 3.11 or newer; say which with make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@# torch first, by its exact version: a range would bring gigabytes of CUDA packages.
	$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# Networks to thin in tests. Without what it asks for: torchvision, which has no build beside this torch, and nothing here needs it.
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps "$$(grep '^pytorchcv==' constraints.txt)"
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info
