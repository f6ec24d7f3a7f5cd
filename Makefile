# linkkit-sidecar. `make help` says what there is; bare `make` builds, tests and lints.
#
# Needed: Go, make, git, and gcc for the race detector. Tools are built from tools/go.mod into bin/, each when first
# needed and again when its version changes; what else the tests need, `make test-deps` installs or names.

SHELL         := bash
.SHELLFLAGS   := -euo pipefail -c
MAKEFLAGS     += --no-print-directory
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

python   := clients/python/src

# The version of the command and of the Python package is written down once, in the package; what is not the commit that is tagged
# with it comes before it.
release  := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' $(python)/linkkit_sidecar/_version.py)
commit    = $(shell git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)
VERSION  ?= $(if $(filter v$(release),$(shell git describe --tags --dirty 2>/dev/null)),$(release),$(release)-dev.$(commit))
PACKAGES ?= ./...
ARGS     ?=
FUZZTIME ?= 60s

tools := buf golangci-lint gotestsum grpcurl protoc-gen-go-grpc

# What the tests use beside Go and bin/: Debian's names. The race detector needs a C compiler; the vendor's own SDK needs Python
# and, for a host name that it has fixed, namespaces of its own (unshare, ip); strace kills a process at any system call;
# mosquitto is a broker that is not ours.
test_packages := gcc libc6-dev iproute2 mosquitto python3 python3-venv strace util-linux
requirements  := $(wildcard test/*/requirements.txt) clients/python/requirements.txt

.PHONY: all
all: build test lint ## build, test and lint (the default)

.PHONY: help
help: ## print the targets
	@sed -nE 's/^([a-z][a-z-]*):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# grpcnotrace: without gRPC's own /debug/requests, which nobody serves and which brings HTML templates along. A template calls
# methods by name, and one that can be reached makes the linker keep all methods there are: 4 MB. Hence the limit.
go_build = CGO_ENABLED=0 go build -tags grpcnotrace -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

.PHONY: build
build: ## build bin/linkkit-sidecar, static
	$(go_build) -o bin/linkkit-sidecar ./cmd/linkkit-sidecar
	@(( $$(stat -c %s bin/linkkit-sidecar) <= 25000000 )) || { echo 'The binary is larger than 25 MB: see the comment above.' >&2; exit 1; }

# The wheel for this machine, or another (GOARCH=arm64), carries the command; the pure one is for machines where that is got otherwise.
# The same commit makes the same files, whenever and wherever it is built.
goarch      := $(or $(GOARCH),$(shell go env GOARCH))
DIST        ?= dist
wheel_dir    = $(abspath $(DIST))/linux-$(goarch)
wheel_build  = SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) .venv/bin/python -m build --no-isolation --outdir $(DIST) clients/python

.PHONY: wheel
wheel: .venv/installed ## build the Python package into DIST=dist: a wheel with the command (GOARCH=arm64), one without, the source
	GOARCH=$(goarch) $(go_build) -o $(wheel_dir)/linkkit-sidecar ./cmd/linkkit-sidecar
	GOARCH=$(goarch) .venv/bin/python clients/python/tools/notices.py >$(wheel_dir)/NOTICES
	$(wheel_build)
	LINKKIT_SIDECAR_WHEEL_BINARY=$(wheel_dir)/linkkit-sidecar $(wheel_build) --wheel

.PHONY: run
run: build bin/grpcurl ## run a sidecar with the platform on your desk, no cloud account needed (ARGS='--help')
	bin/linkkit-sidecar dev $(ARGS)

.PHONY: test
test: test-go test-python ## run all tests

.PHONY: test-go
test-go: bin/gotestsum test-deps ## run the tests in Go with the race detector (PACKAGES=./internal/conn ARGS='-run Takeover')
	@# -count=1: some tests build and run the command, of which go's cache of test results knows nothing.
	bin/gotestsum --format pkgname-and-test-fails -- -race -count=1 -timeout 8m $(ARGS) $(PACKAGES)
	@# bench is a module of its own, so ./... does not reach it.
	$(if $(filter ./...,$(PACKAGES)),cd bench && ../bin/gotestsum --format pkgname-and-test-fails -- -count=1 -timeout 4m $(ARGS) ./...)

# With .venv's Python all is measured; with the oldest and the newest that the machine has, all is run again. Some tests alone, to which no
# measure applies, run with .venv's only.
PYTEST ?=

.PHONY: test-python
test-python: build test-deps ## run the tests of the Python client, on the oldest and the newest Python too (PYTEST='-k consumer' runs some, on one)
ifeq ($(PYTEST),)
	cd clients/python && PYTHONPATH=src ../../.venv/bin/python -m coverage run -m pytest -q
	cd clients/python && ../../.venv/bin/python -m coverage report
	cd clients/python && ../../.venv/bin/python -m coverage json -q --fail-under=0 -o - | PYTHONPATH=src ../../.venv/bin/python tools/called.py
	.venv/bin/python clients/python/tools/other_pythons.py
else
	cd clients/python && PYTHONPATH=src ../../.venv/bin/python -m pytest -q $(PYTEST)
endif

.PHONY: test-deps
test-deps: $(if $(requirements),.venv/installed) ## install what the tests need beside Go (Debian packages as root; Python ones into .venv)

.PHONY: test-packages
test-packages:
	@command -v dpkg-query >/dev/null || { echo 'The tests need what Debian calls $(test_packages).'; exit 0; }; \
	missing=(); \
	for package in $(test_packages); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing+=($$package); \
	done; \
	if (( $${#missing[@]} == 0 )); then \
		exit 0; \
	elif (( $$(id -u) == 0 )); then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -q </dev/null && apt-get install -q -y --no-install-recommends "$${missing[@]}" </dev/null; \
	else \
		echo "The tests need packages that only root can install: sudo apt-get install $${missing[*]}" >&2; \
		exit 1; \
	fi

test-deps: test-packages bin/promtool

# promtool judges the metrics, the alert rules and the dashboard's queries. It is taken out of Debian's package, since to install that
# sets up a daemon and brings eleven packages of JavaScript, and to build it brings the libraries of every cloud.
bin/promtool:
	@mkdir -p bin; \
	if found=$$(command -v promtool); then \
		ln -sf "$$found" $@; \
		exit 0; \
	fi; \
	command -v apt-get >/dev/null || { echo 'The tests need promtool, which comes with Prometheus.' >&2; exit 1; }; \
	dir=$$(mktemp -d); \
	trap 'rm -rf "$$dir"' EXIT; \
	if (( $$(id -u) == 0 )); then apt-get update -q </dev/null; fi; \
	(cd "$$dir" && apt-get download -q prometheus </dev/null && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool); \
	install -m 755 "$$dir/usr/bin/promtool" $@

.venv/installed: $(requirements) clients/python/requirements-test.txt | test-packages
	@# A link leads to an environment that others use: --clear would empty that one.
	@[[ ! -L .venv ]] || rm .venv
	python3 -m venv --clear .venv
	.venv/bin/pip install --quiet --disable-pip-version-check $(requirements:%=--requirement %)
	touch $@

ROUNDS ?= 1000

.PHONY: chaos
chaos: ## a loss ledger over ROUNDS rounds of chaos (ROUNDS=200 CHAOS_SEED=1 repeats what seed 1 did)
	CHAOS_ROUNDS=$(ROUNDS) go test -count=1 -timeout 60m -v -run TestNothingWithAReceiptIsLost ./test/chaos

BENCH ?=
REPS  ?= 5

.PHONY: bench
bench: build | test-packages ## compare with the rivals, all or some, in REPS repetitions (BENCH=stream,unary-64 REPS=5)
	cd bench && CGO_ENABLED=0 go build -o ../bin/bench .
	@# Some comparisons alone leave what is committed as it is.
	cd bench && ../bin/bench -sidecar ../bin/linkkit-sidecar -only '$(BENCH)' -repetitions $(REPS) \
		$(if $(BENCH),-results ../dist/bench,-docs ../docs/performance.md) $(ARGS)

.PHONY: bench-micro
bench-micro: ## run Go's benchmarks of single rooms (PACKAGES=./internal/event ARGS='-benchtime 5s')
	go test -run '^$$' -bench . -benchmem $(ARGS) $(PACKAGES)

# What makes a target fail is written to testdata/fuzz beside it, and is a test of every run from then on. An input that covers
# something new is made smaller for a second at most: go would take a minute, out of the target's own time.
.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (FUZZTIME=10s PACKAGES=./internal/platform ARGS='-parallel 1')
	@targets=$$(go test -list '^Fuzz' $(PACKAGES) | awk '/^Fuzz/ { name[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, name[i]; n = 0 }'); \
	[[ -n $$targets ]] || { echo 'There is no fuzz target in $(PACKAGES).' >&2; exit 1; }; \
	failed=(); \
	while read -r package name <&3; do \
		if said=$$(go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $(ARGS) $$package 2>&1); then \
			printf 'ok    %s.%s: %s\n' "$$package" "$$name" "$$(grep -o 'execs: [0-9]*' <<<"$$said" | tail -n 1)"; \
		else \
			printf 'FAIL  %s.%s\n%s\n' "$$package" "$$name" "$$said"; \
			failed+=("$$package.$$name"); \
		fi; \
	done 3<<<"$$targets"; \
	if (( $${#failed[@]} > 0 )); then \
		echo "Fuzzing made fail: $${failed[*]}. Mend it, and commit the input that go has written to testdata/fuzz." >&2; \
		exit 1; \
	fi

.PHONY: lint
lint: bin/golangci-lint bin/buf .venv/installed ## check code, protos, formatting, the contract's promises and go.mod
	bin/golangci-lint run
	cd clients/python && ../../.venv/bin/ruff check -q && ../../.venv/bin/ruff format --check -q && ../../.venv/bin/mypy
	cd bench && ../bin/golangci-lint run
	bin/buf lint
	bin/buf format --diff --exit-code
	bin/buf breaking proto --exclude-imports --against proto/contract.binpb
	go mod tidy -diff
	cd bench && go mod tidy -diff

.PHONY: format
format: bin/golangci-lint bin/buf .venv/installed ## format code and protos
	bin/golangci-lint fmt
	cd clients/python && ../../.venv/bin/ruff check -q --fix-only && ../../.venv/bin/ruff format -q
	cd bench && ../bin/golangci-lint fmt
	bin/buf format --write

# proto/contract.binpb is all that was ever promised: an incompatible change stops here and in lint, whatever the history of a
# clone. What has not left your machine is not promised yet: `git checkout proto/contract.binpb` takes it back.
stubs := linkkit_sidecar/v1 linkkit_sidecar/sandbox/v1

.PHONY: generate
generate: bin/buf bin/protoc-gen-go-grpc .venv/installed ## generate gen/ and the Python stubs from proto/, and add what is new to proto/contract.binpb
	@if [[ -e proto/contract.binpb ]] && ! bin/buf breaking proto --exclude-imports --against proto/contract.binpb; then \
		echo 'This breaks what proto/contract.binpb promises. CONTRIBUTING.md, "The contract", says what can be done.' >&2; \
		exit 1; \
	fi
	bin/buf generate
	bin/buf build proto --exclude-source-info --output proto/contract.binpb
	@# The services' Python modules are written by protoc's own plugin, which buf cannot call. It writes none for a file without services.
	cd $(python) && rm -f $(stubs:%=%/*_pb2*)
	bin/buf generate --template clients/python/buf.gen.yaml
	bin/buf build proto --as-file-descriptor-set --output - | .venv/bin/python -m grpc_tools.protoc --descriptor_set_in=/dev/stdin \
		--grpc_python_out=$(python) $$(cd proto && grep -l '^service ' $(stubs:%=%/*.proto))
	cd $(python) && for stub in $(stubs:%=%/*_grpc.pyi); do [[ -e $${stub%i} ]] || rm $$stub; done

.PHONY: tools
tools: $(tools:%=bin/%) ## build all tools into bin/

$(tools:%=bin/%): bin/%: tools/go.mod tools/go.sum
	cd tools && CGO_ENABLED=0 go build -ldflags '-s -w' -o ../$@ "$$(go list tool | grep '/$*$$')"

.PHONY: clean
clean: ## remove all that was built: bin/, dist/, .venv/ and what tools keep
	rm -rf bin dist .venv .venv-* clients/python/.coverage
	find clients test -name __pycache__ -o -name .pytest_cache -o -name .mypy_cache -o -name .ruff_cache | xargs rm -rf
