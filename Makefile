# Targets: build test race fuzz bench check demo. CONTRIBUTING.md says when to use which.
SHELL   := /bin/bash
GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s

.PHONY: build test race fuzz bench check demo peers clean

build: bin/expost

bin/expost: FORCE
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/expost ./cmd/expost

FORCE:

# The programs of others that the tests talk to. Only as root on Debian; elsewhere
# the tests that miss one say so and skip.
peers:
	@./test/peers.sh

test: build peers
	$(GO) test ./...

race: build peers
	$(GO) test -race ./internal/... ./cmd/...

# Every fuzzer for FUZZTIME, one after another.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

# Go benchmarks, then Expost beside the incumbents where their programs are installed.
bench: build
	$(GO) test -run '^$$' -bench . -benchtime 1s ./internal/...
	./test/bench.sh

check:
	@test -z "$$(gofmt -l cmd internal test)" || { gofmt -l cmd internal test; echo "run gofmt"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

demo: build
	@./test/demo.sh

clean:
	rm -rf bin
