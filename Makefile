# meddino: build, test, install. `make setup` installs what is missing; the other targets call it.
VERSION := $(shell awk '/define MEDDINO_VERSION_(MAJOR|MINOR|PATCH)/{v=v s $$3; s="."} END{print v}' include/meddino.h)
ABI     := $(shell awk '/define MEDDINO_ABI_VERSION/{print $$3}' include/meddino.h)
PREFIX  ?= /usr/local
DESTDIR ?=
LIBDIR  ?= lib
ZSHDIR  ?= share/zsh/site-functions
DIST    := .build-dist
LIB     := $(DIST)/release/libmeddino.so
CLI     := $(DIST)/release/meddino-cli
MULTI   := $(shell gcc -print-multiarch 2>/dev/null)
OPENBLAS_A ?= /usr/lib/$(MULTI)/openblas-pthread/libopenblas.a
ZLIB_A  ?= /usr/lib/$(MULTI)/libz.a
STAGE   := $(CURDIR)/.build-stage
MPICC   ?= mpicc
MPI_LIB := .build-mpi/libmeddino_mpi.so
PACKAGES ?= dist
APT     := libopenblas-dev libomp-dev zlib1g-dev pkg-config gcc g++ make python3
SHELL   := /bin/bash
.DEFAULT_GOAL := all

setup:
	@command -v swift >/dev/null || { echo "Swift 6.3 or later is needed: https://www.swift.org/install"; exit 1; }
	@swift --version 2>/dev/null | grep -oE 'Swift version [0-9]+\.[0-9]+' | awk '{split($$3,v,"."); if (v[1]*100+v[2] < 603) {print "Swift 6.3 or later is needed, found " $$3; exit 1}}'
	@missing=""; for p in $(APT); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -yq $$missing; fi

INSTALL := PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' LIBDIR='$(LIBDIR)' ZSHDIR='$(ZSHDIR)' VERSION=$(VERSION) ABI=$(ABI) \
  LIB='$(LIB)' CLI='$(CLI)' MPI_LIB='$(MPI_LIB)'

# The same options for both products: with others SwiftPM compiles everything again.
BUILD_DIST := MEDDINO_DIST=1 MEDDINO_OPENBLAS_A=$(OPENBLAS_A) MEDDINO_ZLIB_A=$(ZLIB_A) \
  swift build --disable-local-rpath --static-swift-stdlib --scratch-path $(DIST) -c release

lib: setup
	$(BUILD_DIST) --product meddino

cli: setup
	$(BUILD_DIST) --product meddino-cli

# Runs of several processes: the small library that the command line loads under mpirun. Needs libopenmpi-dev (or another MPI).
mpi: $(MPI_LIB)
$(MPI_LIB): MPI/meddino_mpi.c Sources/CCommunicator/communicator.h
	@command -v $(MPICC) >/dev/null || { echo "$(MPICC) is missing: apt-get install libopenmpi-dev, or name another with MPICC="; exit 1; }
	mkdir -p $(@D)
	$(MPICC) -shared -fPIC -O2 -Wall -Wextra -Werror -fvisibility=hidden -ISources/CCommunicator $< -o $@

all: lib cli

# The debug build and its tests, then the tests of the shipped library from C and Python.
test: setup
	swift build --build-tests
	swift test --skip-build
	$(MAKE) test-c

test-golden: setup
	swift test --filter GoldenTests

test-c: stage
	Tests/Command/run.sh $(STAGE)
	Tests/Command/pretrain.sh $(STAGE)
	Tests/Command/curate.sh $(STAGE)
	Tests/C/run.sh $(STAGE)
	Tests/Install/run.sh $(STAGE)
	Tests/Long/run.sh $(STAGE) slices
	Tests/MPI/run.sh $(STAGE)

# Each SIMD path forced; the C kernels on arm64 under qemu-user where that is installed.
test-isa: setup
	Tests/Kernels/run.sh
	swift build --build-tests
	for isa in portable avx2 avx512 avx512-bf16; do \
	  case $$isa in portable) flag=. ;; avx512) flag=avx512bw ;; *) flag=$${isa/-/_} ;; esac; \
	  grep -qw -- "$$flag" /proc/cpuinfo || { echo "== $$isa: skipped, this processor does not have it"; continue; }; \
	  echo "== $$isa"; MEDDINO_SIMD=$$isa swift test --skip-build || exit 1; done

test-openmp: setup
	MEDDINO_OPENMP=1 swift test --scratch-path .build-openmp

test-oracle: stage
	Tests/Oracle/run.sh $(STAGE)

# Two processes against one, where MPI is installed.
test-mpi: stage
	Tests/MPI/run.sh $(STAGE)

# Installing, packages, man pages, completions, CMake and pkg-config (part of `make test`).
test-install: stage
	Tests/Install/run.sh $(STAGE)

# The C tests under valgrind, and with AddressSanitizer in Swift and C alike.
test-memory: stage
	Tests/C/run-valgrind.sh $(STAGE)
	Tests/C/run-asan.sh

test-long: stage
	Tests/Long/run.sh $(STAGE)

bench: stage
	Tests/Bench/run.sh $(STAGE)

check-abi: lib
	Tests/C/check-abi.sh $(LIB) $(ABI)

# Writes down sizes, offsets, values and prototypes of meddino.h; refuses what would break programs (docs/abi.md).
update-abi:
	Tests/C/abi.py update include/meddino.h Tests/C/abi-baseline.txt

stage: all
	rm -rf $(STAGE)
	$(MAKE) --no-print-directory install-files DESTDIR= PREFIX=$(STAGE) LIBDIR=lib

install: all
	@$(MAKE) --no-print-directory install-files

# What was built, copied to DESTDIR + PREFIX (LIBDIR and ZSHDIR lie beneath it); docs/install.md says what goes where.
install-files:
	@$(INSTALL) Install/install.sh install

# Takes away what install put there, and nothing else.
uninstall:
	@$(INSTALL) Install/install.sh uninstall

# A tarball and, where dpkg-dev is installed, Debian packages, in $(PACKAGES).
package: all
	@$(MAKE) --no-print-directory package-files

package-files:
	@$(INSTALL) Install/package.sh $(PACKAGES)

# The Python wheel with the library inside, in dist/; and its tests in virtual environments of several Pythons and numpys.
wheel: stage
	python3 -B Examples/python/backend/meddino_wheel.py --library $(STAGE)/lib/libmeddino.so --output $(PACKAGES)

test-embed: stage
	Tests/Python/embed.sh $(STAGE)

.PHONY: wheel test-embed

# Phantom CTs, a small network trained on them, held-out ones segmented through the installed C library, Dice, pictures, a report.
demo: stage
	Examples/demo.sh $(STAGE) demo

format:
	swift format --in-place --recursive Sources Tests Package.swift

clean:
	rm -rf .build .build-dist .build-stage .build-openmp .build-asan .build-mpi demo bench dist

.PHONY: setup lib cli mpi all test test-golden test-c test-isa test-openmp test-oracle test-mpi test-install test-memory test-long bench check-abi update-abi \
  stage install install-files uninstall package package-files demo format clean
