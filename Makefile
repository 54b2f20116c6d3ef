# Spindle. `make` lists what there is to do.
SHELL := /bin/bash
export PATH := $(PATH):/usr/local/go/bin
GO ?= go
GO_MIN := 1.26

.DEFAULT_GOAL := help
# What results name: the binary carries no version of its own in a work tree.
COMMIT = $$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)

.PHONY: help build test demo bench compare fuzz sim generate peers go

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: go ## build bin/spindle
	$(GO) build -trimpath -o bin/spindle ./cmd/spindle

demo: build ## two hosts, two gateways, a tunnel and traffic, in namespaces (needs root)
	bin/spindle demo

test: build peers ## run everything; as root that includes the network tests
	$(GO) vet ./...
	@GO=$(GO) bash tools/test.sh

bench: build ## what a packet costs on one core, for every size and number of SAs (2 minutes)
	bin/spindle bench pipeline --commit $(COMMIT) $(ARGS)

compare: build ## Spindle beside ipsec-secgw, strongSwan and wireguard-go on this machine (root; 9 minutes; ARGS='-o json')
	@bin/spindle bench compare --commit $(COMMIT) $(ARGS)

FUZZTIME ?= 1m
fuzz: go ## run every fuzz target for FUZZTIME each (1m)
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

generate: go ## rebuild the XDP object (needs clang-19 and libbpf-dev) and the AES-GCM kernel
	$(GO) generate ./bpf ./datapath/esp/gcm

SCHEDULES ?= 10000
SEED ?= 1
sim: go ## follow SCHEDULES seeded histories of IKE gateways from SEED on (10000, 1); one alone is printed as a ladder
	@$(GO) run ./tools/sim -schedules $(SCHEDULES) -seed $(SEED)

peers: # the programs that tests talk to; installed when root and Debian
	@bash tools/peers.sh

go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install Go $(GO_MIN) or newer from https://go.dev/dl and put it on PATH" >&2; exit 1; }
	@v=$$($(GO) env GOVERSION); [ "$$(printf '%s\n' go$(GO_MIN) "$$v" | sort -V | head -1)" = go$(GO_MIN) ] || \
	  { echo "$$v is too old: install Go $(GO_MIN) or newer from https://go.dev/dl" >&2; exit 1; }
