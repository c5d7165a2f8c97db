# The last stage, for each machine that has an object: built from the top of the tree, as the
# objects in the package are, by the compilers of Debian 12 (gcc, gcc-aarch64-linux-gnu).
#
#   make native         builds src/nsctl/native/stage2.MACHINE
#   make native-check   builds them elsewhere and compares: the objects are what the source gives

NATIVE := src/nsctl/native
STAGE2_SOURCES := $(addprefix $(NATIVE)/,stage2.c plan.h powers.h report.h sys.h)
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

.PHONY: native native-check
native: $(STAGE2_OBJECTS)

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
	test -z "$$differ" || { echo "not what the source gives:$$differ" >&2; exit 1; }
