# Targets are listed by `make help`: a comment after two hashes on the target's
# line is its description.

GO                  ?= go
GOLANGCI_VERSION    := v2.15.0
# What `make bench-peers` builds.
NATS_VERSION        := v2.15.2
CENTRIFUGO_VERSION  := v6.9.1
# How long each fuzz target runs.
FUZZTIME            ?= 20s
# Packages tested at the same time. Three keep two cores busy: tests wait half of the time.
# Many start their own Redis and measure deadlines, which more at once would make late.
P                   ?= 3
# The longest a single package's tests may take.
TEST_TIMEOUT        ?= 10m
# Arguments for `make run`, e.g. make run ARGS="-listen 127.0.0.1:9000".
ARGS                ?=
# The processor that `make package` builds for: arm64 or amd64.
ARCH                ?= arm64
# Where `make bench` leaves its results and `make bench-plot` finds them.
RESULTS             ?= bench/results.json
# The faults of `make proof`: those that a form does not have are left out.
PROOF_FAULTS        ?= ^(node-killed|node-stopped|redis-restarted|failover-.*|resharding|ingester-.*|group-full)$$
# What `make test` tests, e.g. make test PKG=./pkg/publish/...
PKG                 ?= $(ALL)
# All packages: the Go client is a module of its own, which ./... leaves out.
ALL                 := ./... fleetwire/clients/go/...
# They take longest, so they begin first: none is left alone at the end.
LONGEST             := ./e2e ./deploy ./e2e/aws ./infra ./scripts/package ./examples ./clients/suite ./e2e/goclient ./fanout/internal/receiver ./pkg/command ./pkg/registry ./pkg/group
# What `make quick` leaves to `make test`: packages whose tests start programs,
# browsers, terraform or whole builds.
SLOW                ?= ^fleetwire/(api|bench|chaos|clients|deploy|e2e|examples|infra|scripts)(/|$$)

# -race in `make check`: then vet, golangci-lint and the tests share all that is compiled.
RACE                ?=
# -vet=off in `make check`, where go vet has found before what go test would find.
VET                 ?=

# Run through `go run` at a pinned version: the tool and what it needs stay out of go.mod.
# The first time takes a minute or two: it is large. Go keeps the program in its cache. It is
# built as fanout is for its image, without cgo and paths, to share the standard library with it.
# It makes much garbage: collecting that less often takes less time.
GOLANGCI = CGO_ENABLED=0 $(GO) run -trimpath -exec 'env -u CGO_ENABLED "GOFLAGS=$(shell $(GO) env GOFLAGS) $(RACE)" GOGC=400 GOMEMLIMIT=3GiB' \
	github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.DEFAULT_GOAL := help
# Steps run in the order written, also under make -j: the cheap ones first, the test
# summary last.
.NOTPARALLEL:

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: ## start everything in one process on an embedded Redis (ARGS="-listen …")
	@[ -e bin/localdev ] || echo "compiling; the first time takes a minute or two"
	$(GO) build -o bin/localdev ./localdev
	@scripts/foreground bin/localdev $(ARGS)

.PHONY: build
build: ## compile every package; put fanout, localdev and fleetwire into bin/
	$(GO) build $(ALL)
	$(GO) build -o bin/ ./fanout ./localdev
	$(GO) build -o bin/fleetwire ./cli

.PHONY: fanout
fanout: ## build the production node, bin/fanout
	$(GO) build -o bin/fanout ./fanout

.PHONY: cli
cli: ## build the command line tool, bin/fleetwire
	$(GO) build -o bin/fleetwire ./cli

# The installers wait for the network most of the time, so the compilers run beside them. What
# they say comes when both are done.
.PHONY: check
check: fmt-check ## what CI runs: gofmt, vet, golangci-lint, archtest, tests
	@said=$$(mktemp) || exit 1; \
	nice -n 10 $(MAKE) --no-print-directory test-deps programs >"$$said" 2>&1 & deps=$$!; \
	$(MAKE) --no-print-directory lint archtest test-goroutines RACE=-race VET=-vet=off; status=$$?; \
	wait $$deps; installed=$$?; \
	cat "$$said"; rm -f "$$said"; [ $$status -ne 0 ] || status=$$installed; exit $$status
	@$(MAKE) --no-print-directory run-tests VET=-vet=off

# Without -race and -count=1: what has not changed is not tested again.
.PHONY: quick
quick: archtest ## build, vet, archtest and the fast tests, without -race: for while you work
	$(GO) build $(ALL)
	$(GO) vet $(ALL)
	@mkdir -p bin
	@$(GO) build -trimpath -o bin/gotest ./scripts/gotest
	GO="$(GO)" bin/gotest -p $(P) -timeout $(TEST_TIMEOUT) $$($(GO) list $(ALL) | grep -Ev '$(SLOW)')
	@echo "left out: -race, golangci-lint, and the tests of api, bench, clients, e2e, examples, infra and scripts (make check runs all)"

# -count=1: many tests look at things that go's test cache can't see (is there
# a redis-server? a Python?), so a cached result may be about another machine.
.PHONY: test
test: test-deps run-tests ## install what the tests need, then run them all with -race

.PHONY: run-tests
run-tests:
	@mkdir -p bin
	@$(GO) build -trimpath -o bin/gotest ./scripts/gotest
	GO="$(GO)" bin/gotest -race $(VET) -count=1 -p $(P) -timeout $(TEST_TIMEOUT) $(if $(filter ./...,$(PKG)),$(LONGEST)) $(PKG)

# Several packages build the same programs in their tests, at the same time. What these are
# made of is compiled once, before.
.PHONY: programs
programs:
	@for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) list -export -f '' -trimpath -tags lambda.norpc ./fanout ./localdev ./functions/... >/dev/null || exit 1; \
	done

.PHONY: test-goroutines
test-goroutines: ## test connections and sessions as they run where there is no epoll
	$(GO) vet -race -tags goroutines ./fanout/...
	@mkdir -p bin
	@$(GO) build -trimpath -o bin/gotest ./scripts/gotest
	GO="$(GO)" FLEETWIRE_TEST_SUMMARY= bin/gotest -race -vet=off -count=1 -tags goroutines ./fanout/internal/conn ./fanout/internal/session

.PHONY: test-deps
test-deps: ## install what the tests need beside Go, where that is possible
	@scripts/install-test-deps
	@scripts/install-tflint

.PHONY: archtest
archtest: ## check the architecture's rules (package docs, import directions, file lengths)
	$(GO) test $(RACE) $(VET) -count=1 ./pkg/archtest

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s)
	GO="$(GO)" FUZZTIME="$(FUZZTIME)" scripts/fuzz $(PKG)

# The npm packages are installed again when the lock file is newer.
console/node_modules/.package-lock.json: console/package-lock.json
	cd console && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

.PHONY: console
console: console/node_modules/.package-lock.json ## build the console's page, console/dist, from console/src (needs npm)
	$(GO) run ./console/bundle

.PHONY: package
package: ## build the Lambda functions, dist/NAME.zip (ARCH=arm64|amd64)
	$(GO) run ./scripts/package -arch $(ARCH)

.PHONY: release
release: ## build archives, debs, rpms, the chart, SBOMs and checksums into dist/release (VERSION=v1.2.3)
	rm -rf dist/release
	$(GO) run -C scripts/release . -out "$(CURDIR)/dist/release" $(if $(VERSION),-version $(VERSION)) $(ARGS)

.PHONY: bench
bench: ## measure this machine beside NATS, Centrifugo, Mosquitto and the floor (over an hour)
	$(GO) run ./bench -json $(RESULTS) $(ARGS)

.PHONY: bench-peers
bench-peers: ## build what make bench measures beside Fleetwire: NATS 2.15 and Centrifugo 6
	GOBIN="$(CURDIR)/bin/peers" $(GO) install github.com/nats-io/nats-server/v2@$(NATS_VERSION)
	GOBIN="$(CURDIR)/bin/peers" $(GO) install github.com/centrifugal/centrifugo/v6@$(CENTRIFUGO_VERSION)

.PHONY: bench-plot
bench-plot: ## draw docs/img/*.svg from the benchmark's results
	$(GO) run ./bench -plot $(RESULTS) -out docs/img

.PHONY: chaos
chaos: ## inject faults under traffic, and keep the books (SEED=… replays, FORMS=server,replica)
	$(GO) run ./chaos $(if $(SEED),-seed $(SEED)) $(if $(FORMS),-forms $(FORMS)) $(ARGS)

.PHONY: proof
proof: ## kill nodes, Redis and ingesters while a million messages go through a group (SEED=…, ARGS="-messages …")
	$(GO) run ./chaos $(if $(SEED),-seed $(SEED)) -forms $(or $(FORMS),server) -times 60 -messages 1000000 -faults '$(PROOF_FAULTS)' $(ARGS)

.PHONY: chaos-table
chaos-table: ## make chaos, and write its results into docs/operations.md
	$(GO) run ./chaos $(if $(SEED),-seed $(SEED)) $(if $(FORMS),-forms $(FORMS)) -docs docs/operations.md $(ARGS)

.PHONY: smoke
smoke: ## try a deployment from outside (BASE_URL=… SK=…)
	@GO="$(GO)" scripts/smoke "$(BASE_URL)" "$(SK)"

.PHONY: fmt
fmt: ## format the Go code
	gofmt -w .

.PHONY: fmt-check
fmt-check: ## fail when a Go file is not formatted
	@files=$$(gofmt -l .) || exit 1; \
	if [ -n "$$files" ]; then echo "not formatted (make fmt does it):"; echo "$$files"; exit 1; fi

.PHONY: lint
lint: ## go vet, and golangci-lint with .golangci.yml
	$(GO) vet $(RACE) $(ALL)
	$(GOLANGCI) run --timeout 15m
	cd clients/go && $(GOLANGCI) run --timeout 15m

.PHONY: clean
clean: ## remove what was built and fetched (not localdev's key pair in .fleetwire/)
	rm -rf bin dist console/node_modules clients/js/node_modules examples/node/node_modules e2e/npm/node_modules api/lint/node_modules
