# Everything runs as root on Debian or Ubuntu, with Go and make. `make help` lists
# the targets.

GO      ?= go
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
# How long the tests of one package may take before they count as hanging.
TEST_TIMEOUT ?= 30m

.DEFAULT_GOAL := help
.PHONY: test-cluster test-dockerfile test-long test-kernel smoke-kernel bench-kernel bench-kernel-cni help build deps lab lab-down cluster cluster-down cluster-smoke bench-cluster cluster-build test test-unit lint bench generate clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## put the executables into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

deps: ## install what the lab and the tests need from the distribution
	@scripts/deps.sh

lab: deps build ## start a two-node lab, plug pods in, prove that all reach all; leaves it up
	@bin/sluice-lab up
	@bin/sluice-lab probe --expect all

lab-down: build ## remove the lab
	@bin/sluice-lab down

cluster: cluster-build ## start a real Kubernetes with Sluice in it; the first time builds it (ten minutes)
	@bin/sluice-cluster up
	@bin/sluice-cluster try

cluster-down: cluster-build ## remove the real cluster
	@bin/sluice-cluster down

cluster-smoke: cluster-build ## start a real cluster, try it, remove it; says so if it would have to be built first
	@bin/sluice-cluster smoke --if-built

test-cluster: cluster-build ## all that is tried on a real cluster: Services, policies, faults, roll-outs, missing rights and podCIDRs, kube-proxy (a quarter of an hour)
	@bin/sluice-cluster up
	@status=0; bin/sluice-cluster try --pods 20 && bin/sluice-cluster services && bin/sluice-cluster policies && \
		bin/sluice-cluster disturb && bin/sluice-cluster rights || status=$$?; \
		bin/sluice-cluster down; exit $$status
	@bin/sluice-cluster smoke --no-pod-cidrs
	@bin/sluice-cluster smoke --kube-proxy

test-dockerfile: cluster-build ## build build/Dockerfile with buildah, on local stand-ins of its base images, and compare it with the cluster's image
	@scripts/deps.sh --dockerfile
	@test/cluster/dockerfile.sh $(VERSION)

bench-cluster: cluster-build ## measure pods from creation to Ready beside the bridge and ptp plugins, on a real cluster
	@bin/sluice-cluster up
	@status=0; bin/sluice-cluster bench --out out/bench-cluster.json || status=$$?; bin/sluice-cluster down; exit $$status

cluster-build: build
	@scripts/deps.sh --cluster
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/sluice-cluster ./test/cluster
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/sluice-cluster-pod ./test/cluster/pod
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/sluice-cluster-pause ./test/cluster/pause

# One package at a time: some tests count lost packets, and a busy machine loses some.
test: deps build ## run all tests: unit, real Open vSwitch, lab
	SLUICE_BIN_DIR=$(CURDIR)/bin $(GO) test -p 1 -timeout $(TEST_TIMEOUT) ./...

# A machine that does something else besides loses packets of its own: userspace Open
# vSwitch forwards in one thread.
test-long: deps build ## run the tests that take minutes, and those that count lost packets; the machine must be quiet
	SLUICE_BIN_DIR=$(CURDIR)/bin $(GO) test -count 1 -timeout 40m -tags long -v -run 'Switch|Socket|ComesAndGoes|UnderTraffic|Restarts|Scan' -p 1 ./test/long/... ./test/scenarios
	SLUICE_TEST_LONG=1 SLUICE_BIN_DIR=$(CURDIR)/bin $(GO) test -v -count 1 -timeout 60m -run TestDaemonsAreKilledOverAndOver ./test/scenarios
	SLUICE_TEST_LONG=1 $(GO) test -v -count 1 -timeout 10m -run Storm ./test/services

test-kernel: ## run the tests of real switches and labs on the kernel's datapath, in a virtual machine
	@scripts/deps.sh --kernel
	@test/kernel/test.sh

smoke-kernel: ## there, start a lab and prove that all reach all
	@scripts/deps.sh --kernel
	@test/kernel/test.sh smoke

bench-kernel-cni: ## there, measure ADD, CHECK and DEL beside the bridge and ptp plugins; prints a table, writes out/bench-kernel-cni.json
	@scripts/deps.sh --kernel
	@test/kernel/bench-cni.sh

bench-kernel: ## there, measure throughput beside a Linux bridge, one static flow and vxlan; prints a table, writes out/bench-kernel.json
	@scripts/deps.sh --kernel
	@test/kernel/bench.sh

test-unit: ## run the tests that need neither root nor Open vSwitch
	$(GO) test ./flows/... ./agent/source/... ./agent/lease/... ./agent/reconcile/... ./cni/conf/... ./cni/ipam/... ./cni/wire/...

lint: ## run the linters (the first time builds them: some minutes)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt: not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) build -C tools -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run ./...

bench: deps build ## measure beside the bridge plugin and ovs-ofctl, each in one run; prints tables, writes out/bench*.json
	$(GO) run ./test/bench -out out/bench.json
	$(GO) run ./test/bench/openflow -out out/bench-openflow.json
	$(GO) run ./test/bench/policy -out out/bench-policy.json
	$(GO) run ./test/bench/service -out out/bench-service.json
	$(GO) test -run '^$$' -bench HundredThousandFlows ./agent/reconcile

generate: ## make generated code anew
	$(GO) generate ./...

clean: ## remove what was built
	rm -rf bin out
