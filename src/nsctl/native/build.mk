# The last stage, for each machine that has an object, and the BPF programs, for all of 64 bits that
# are little-endian: built from the top of the tree, as the objects in the package are, by the
# compilers of Debian 12 (gcc, gcc-aarch64-linux-gnu, clang).
#
#   make native         builds src/nsctl/native/stage2.MACHINE and nsctl.bpf
#   make native-check   builds them elsewhere and compares: the objects are what the source gives

NATIVE := src/nsctl/native
STAGE2_SOURCES := $(addprefix $(NATIVE)/,stage2.c enter.h files.h plan.h powers.h report.h sys.h trace.h)
STAGE2_OBJECTS := $(NATIVE)/stage2.x86_64 $(NATIVE)/stage2.aarch64

CC_x86_64 ?= x86_64-linux-gnu-gcc
CC_aarch64 ?= aarch64-linux-gnu-gcc

# No C library, no start files, no run-time linker, no relocations; nothing in the file that is not
# of the source (build id, compiler's name, unwind tables); the stack not executable.
STAGE2_FLAGS := -std=gnu11 -Os -Wall -Wextra -Werror -ffreestanding -nostdlib -static -no-pie \
	-fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-ident \
	-mgeneral-regs-only -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,norelro \
	-Wl,-z,noseparate-code -Wl,--fatal-warnings -s
STAGE2_FLAGS_x86_64 := -fcf-protection=none
STAGE2_FLAGS_aarch64 :=

BPF_SOURCES := $(addprefix $(NATIVE)/,nsctl.bpf.c kernel_types.h)
BPF_OBJECT := $(NATIVE)/nsctl.bpf
BPF_CC ?= clang
BPF_PACK ?= python3 scripts/pack_bpf.py
# -g for the types that the kernel relocates by; nothing of the rest of it is packed.
BPF_FLAGS := -target bpfel -mcpu=v3 -std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror

.PHONY: native native-check
native: $(STAGE2_OBJECTS) $(BPF_OBJECT)

$(BPF_OBJECT): $(BPF_SOURCES) scripts/pack_bpf.py $(NATIVE)/build.mk
	@set -eu; built=$$(mktemp); trap 'rm -f "$$built"' EXIT; set -x; \
	$(BPF_CC) $(BPF_FLAGS) -c -o "$$built" $(NATIVE)/nsctl.bpf.c; \
	$(BPF_PACK) "$$built" $@
	chmod 644 $@

$(STAGE2_OBJECTS): $(NATIVE)/stage2.%: $(STAGE2_SOURCES) $(NATIVE)/build.mk
	$(CC_$*) $(STAGE2_FLAGS) $(STAGE2_FLAGS_$*) -o $@ $(NATIVE)/stage2.c
	chmod 644 $@

native-check:
	@set -eu; built=$$(mktemp -d); trap 'rm -rf "$$built"' EXIT; differ=; \
	check() { \
		"$$2" $(STAGE2_FLAGS) $$3 -o "$$built/$$1" $(NATIVE)/stage2.c; \
		cmp "$$built/$$1" "$(NATIVE)/$$1" || differ="$$differ $$1 ($$("$$2" --version | head -n 1))"; \
	}; \
	check stage2.x86_64 "$(CC_x86_64)" "$(STAGE2_FLAGS_x86_64)"; \
	check stage2.aarch64 "$(CC_aarch64)" "$(STAGE2_FLAGS_aarch64)"; \
	$(BPF_CC) $(BPF_FLAGS) -c -o "$$built/nsctl.o" $(NATIVE)/nsctl.bpf.c; \
	$(BPF_PACK) "$$built/nsctl.o" "$$built/nsctl.bpf"; \
	cmp "$$built/nsctl.bpf" "$(BPF_OBJECT)" || \
		differ="$$differ nsctl.bpf ($$("$(BPF_CC)" --version | head -n 1))"; \
	test -z "$$differ" || { echo "not what the source gives:$$differ" >&2; exit 1; }
