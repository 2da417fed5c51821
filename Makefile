# Thin names over scripts and `cargo xtask`. Downloads, servers and builds are
# kept outside the checkout: see tests/setup/cache-directory.
BACKSTAY_CACHE := $(shell tests/setup/cache-directory)
CARGO_TARGET_DIR ?= $(BACKSTAY_CACHE)/target
export BACKSTAY_CACHE CARGO_TARGET_DIR

.PHONY: help demo test lint bench dist setup

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST)

setup: ## bring what demo, test and bench need (they do it themselves)
	tests/run set_up

demo: ## a real server under load: start, snapshot, stop, fetch WAL, restore, compare, drill
	tests/setup/tools demo
	tests/setup/fetch-postgres 16 > /dev/null
	@# it makes no call to EC2, and that program takes minutes to compile
	BACKSTAY_WITHOUT_EBS=1 cargo run --locked --package backstay-tests --bin demo

test: ## everything: unit, integration, molecule, sanity, lints
	tests/run

lint: ## only the lints
	tests/run set_up build sanity ansible_lint format clippy house_rules dependencies scripts

bench: ## the figures of the README, as ratios against their peers
	tests/setup/tools
	tests/setup/fetch-postgres 16 > /dev/null
	cargo build --quiet --locked --release --package backstay
	test -n "$$BACKSTAY_WITHOUT_EBS" || cargo build --quiet --locked --release --package backstay-ebs
	cargo run --quiet --locked --package backstay-tests --bin bench

dist: ## the collection's tarball
	cargo xtask collection
