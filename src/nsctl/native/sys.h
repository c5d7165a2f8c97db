/*
 * System calls without a C library, for x86-64 and arm64.
 *
 * What belongs here: the entry point, the one instruction that enters the kernel, and the types
 * of <linux/...> that stage2 uses. What does not: anything about what stage2 does.
 */
#ifndef NSCTL_SYS_H
#define NSCTL_SYS_H

#include <asm/errno.h>
#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/stat.h>
#include <asm/statfs.h>
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <linux/signal.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/wait.h>

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;
typedef unsigned long size;

#define NULL ((void *)0)
#define SIGNALS 64 /* _NSIG of both machines; a kernel signal set is 8 bytes */

#define MNT_DETACH 2 /* umount(2) */
#define MSG_NOSIGNAL 0x4000 /* send(2) */

/* The kernel's limit on a path, and so on what getcwd(2) returns (linux/limits.h). */
#define PATH_SIZE 4096

#if defined(__x86_64__)

__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call stage2\n");

static __attribute__((noinline)) long syscall6(long number, long a, long b, long c, long d, long e,
					       long f)
{
	long result;
	register long fourth __asm__("r10") = d;
	register long fifth __asm__("r8") = e;
	register long sixth __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
			 : "rcx", "r11", "memory");
	return result;
}

#elif defined(__aarch64__)

__asm__(".globl _start\n"
	"_start:\n"
	"	mov x29, #0\n"
	"	mov x30, #0\n"
	"	mov x0, sp\n"
	"	bl stage2\n");

static __attribute__((noinline)) long syscall6(long number, long a, long b, long c, long d, long e,
					       long f)
{
	register long call __asm__("x8") = number;
	register long first __asm__("x0") = a;
	register long second __asm__("x1") = b;
	register long third __asm__("x2") = c;
	register long fourth __asm__("x3") = d;
	register long fifth __asm__("x4") = e;
	register long sixth __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(first)
			 : "r"(call), "r"(second), "r"(third), "r"(fourth), "r"(fifth), "r"(sixth)
			 : "memory");
	return first;
}

#else
#error "no entry point for this machine: the Python twin serves it"
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the plan is read as it lies in memory");
_Static_assert(sizeof(long) == 8, "pointers and arguments are 64 bits wide");

/* sys(getpid), sys(close, 3): name, then up to six arguments, integers or pointers. */
#define SYS_(number, a, b, c, d, e, f, ...) \
	syscall6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys(name, ...) SYS_(__NR_##name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

static size length(const char *text)
{
	size count = 0;

	while (text[count])
		count++;
	return count;
}

/* A prefix and a number, for a path. */
static const char *numbered(char *into, const char *prefix, u32 number)
{
	u32 used = 0, unit = 1;

	for (; prefix[used]; used++)
		into[used] = prefix[used];
	while (unit <= number / 10)
		unit *= 10;
	for (; unit; unit /= 10)
		into[used++] = (char)('0' + number / unit % 10);
	into[used] = 0;
	return into;
}

#endif
