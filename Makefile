# Sluice. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
GO ?= go
BIN := bin/sluice
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.buildVersion=$(VERSION)
SEED ?=
# Packages whose tests run the real binary as processes; they race-test nothing.
PROCESS_TESTS := ./e2e/...
# Where the machine's Node.js is too old, tools/newer-node (make test-deps) puts another here.
ifneq ($(wildcard ui/.node/bin/node),)
export PATH := $(CURDIR)/ui/.node/bin:$(PATH)
endif

.PHONY: storage-servers help run ui cluster build test test-deps test-race test-moves test-e2e test-python test-ui ui-trace test-long lint chaos generate bench fmt clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/sluice
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/sluice

ui: ui/node_modules/.package-lock.json ## build the web interface (Node.js 20.19 or newer); the next `make build` embeds it
	$(GO) run ./ui/tools/openapi > ui/openapi.json
	cd ui && npm run -s types && npm run -s check && npm run -s build

ui/node_modules/.package-lock.json: ui/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null || \
		{ echo "the web interface needs Node.js 20.19 or newer, here is $$(node --version 2>/dev/null || echo none): make test-deps installs it, tools/newer-node puts one into ui/.node; everything else is built without it (make build)" >&2; exit 1; }
	cd ui && npm ci --ignore-scripts --no-fund --no-audit
	@touch $@

run: ## build the web interface (where npm is) and the binary, and start `sluice dev`: server, agent, sample deployment and queue
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory ui; else echo 'no npm here: the web interface is left out (make test-deps installs it)'; fi
	@$(MAKE) --no-print-directory build
	$(BIN) dev

cluster: build ## build and start three nodes, two agents and HAProxy on this machine, at 127.0.0.1:4200
	@CLUSTER_DIR=$(CLUSTER_DIR) CLUSTER_HOST=$(CLUSTER_HOST) CLUSTER_PORT=$(CLUSTER_PORT) ./tools/cluster

test: lint test-race test-moves test-python test-e2e test-ui ## everything a change must pass (about 10 minutes on 2 cores)

test-deps: ## install the Debian packages the tests need (tools/test-packages), and storage servers; does nothing when all are there
	./tools/test-deps
	$(MAKE) --no-print-directory storage-servers

storage-servers: ## install the servers of S3, Google Cloud Storage and Azure that tests use (tools/storage-servers), into the user's cache
	GO='$(GO)' ./tools/storage-servers/install

test-race: ## all in-process tests under the race detector
	SLUICE_SEEDS=$${SLUICE_SEEDS:-10} SLUICE_PROBES=$${SLUICE_PROBES:-5} $(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v /e2e)

test-moves: ## what raft's own data race keeps out of the race detector: members that change their address
	$(GO) test -count=1 -timeout 5m -run 'TestMembership/(a_node_that_moved|all_nodes_may_move)' ./cluster
	SLUICE_SEEDS=2 $(GO) test -count=1 -timeout 5m -run 'TestNemesis' ./cluster

test-python: build ## the Python SDK's own tests (python3 >= 3.9, no packages)
	PYTHONPATH=python PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover -s python/tests

test-e2e: build ## the real binary: tutorial, kill -9, bad input
	SLUICE_E2E_BINARY=$(CURDIR)/$(BIN) $(GO) test -count=1 -parallel 8 -timeout 20m $(PROCESS_TESTS)

test-ui: ## the web interface: its logic, then Debian's chromium against the real binary (SLUICE_SCREENSHOTS=1 makes the pictures of docs/ui.md)
	@$(MAKE) --no-print-directory ui
	cd ui && npm run -s test
	@$(MAKE) --no-print-directory build
	cd ui && SLUICE_E2E_BINARY=$(CURDIR)/$(BIN) npm run -s browser

ui-trace: ## what the web interface costs with a million runs stored: first paint, long tasks (docs/performance.md; SLUICE_TRACE_DATA=dir uses such a data directory)
	@$(MAKE) --no-print-directory ui
	@$(MAKE) --no-print-directory build
	cd ui && SLUICE_E2E_BINARY=$(CURDIR)/$(BIN) node browser/trace.mjs

test-long: build ## the same with many more seeds, and fuzzing (about an hour)
	SLUICE_FILTER_CASES=20000 $(GO) test -count=1 -timeout 30m -v -run TestFiltersAgree ./http
	SLUICE_SEEDS=100 SLUICE_PROBES=200 SLUICE_CRASH_SEEDS=200 $(GO) test -race -timeout 60m ./cluster/... ./fsm/...
	SLUICE_E2E_LONG=1 SLUICE_E2E_BINARY=$(CURDIR)/$(BIN) $(GO) test -count=1 -parallel 8 -timeout 60m $(PROCESS_TESTS)
	./tools/fuzz 60s

chaos: build ## a system of processes under faults: SEED=n repeats one, TIME=10m, NODES=3 or 5 (Linux, root)
	SLUICE_E2E_BINARY=$(CURDIR)/$(BIN) SLUICE_SEED=$(SEED) SLUICE_CHAOS_TIME=$(or $(TIME),1m) SLUICE_CHAOS_NODES=$(NODES) \
		$(GO) test -count=1 -v -timeout 0 -run '^TestChaos$$' ./e2e/chaos

lint: ## gofmt, go vet, staticcheck and our own rules
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'gofmt would change:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) test -count=1 ./internal/houserules

fmt: ## format the Go code
	gofmt -w $$(git ls-files '*.go')

generate: ## regenerate the protobuf code (needs protoc: Debian's protobuf-compiler)
	@command -v protoc >/dev/null || { echo 'protoc is missing: apt-get install protobuf-compiler'; exit 1; }
	protoc -I . --plugin=protoc-gen-go=$$($(GO) tool -n protoc-gen-go) --go_out=. --go_opt=module=github.com/sluice-dev/sluice \
		fsm/row/row.proto fsm/command/command.proto

bench: build ## the load figures of docs/performance.md (a few minutes; a quiet machine)
	$(BIN) bench all

clean: ## remove what was built
	rm -rf bin ui/dist/assets ui/dist/index.html
