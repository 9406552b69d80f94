# make demo   the whole loop on this machine, against a simulated GitLab
# make test   everything that can be tested, browser tests included
# make check  generated code, format, vet, staticcheck, modernisers, tests with the race detector
# make bench  the figures of the README

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CACHE   ?= $(CURDIR)/.cache
TOOLS   := $(CACHE)/bin
LINT    := go tool -modfile=tools.mod

# A tool on the PATH is used; where there is none, OpenTofu is built once and kept.
HAVE_TOOL := $(shell command -v tofu || command -v terraform)
ifeq ($(HAVE_TOOL),)
TOOL := $(TOOLS)/tofu
endif
export PATH := $(PATH):$(TOOLS)

.PHONY: build demo test check bench generate tool clean

build: bin/groundcrew

bin/groundcrew: FORCE
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $@ .
FORCE:

tool: $(TOOL)

$(TOOLS)/tofu: tools/tofu/go.mod
	@echo "No tofu or terraform on the PATH: building OpenTofu once (some minutes)."
	CGO_ENABLED=0 go -C tools/tofu build -trimpath -ldflags "-s -w -X github.com/opentofu/opentofu/version.dev=no" -o $@ github.com/opentofu/opentofu/cmd/tofu

demo: build tool
	@env -u TF_CLI_CONFIG_FILE bin/groundcrew demo $(ARGS)

test: tool
	env -u TF_CLI_CONFIG_FILE go test -timeout 12m ./...

check: tool
	go generate ./... && git diff --exit-code -- '*_templ.go'
	test -z "$$($(LINT) gofumpt -l $$(git ls-files '*.go' ':!*_templ.go'))"
	go vet ./...
	$(LINT) staticcheck ./...
	test -z "$$(go fix -diff ./...)"
	env -u TF_CLI_CONFIG_FILE go test -race -shuffle=on -timeout 20m ./...

bench: tool
	env -u TF_CLI_CONFIG_FILE go test -run '^$$' -bench . -benchtime $(or $(BENCHTIME),2s) -timeout 20m . ./store ./runs/proc

generate:
	go generate ./...

clean:
	rm -rf bin
