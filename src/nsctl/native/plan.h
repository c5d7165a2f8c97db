/*
 * The plan: what the last stage is told to apply, and how it is checked.
 *
 * The description of the format stands in nsctl/child/plan.py, which writes it; the two must be
 * changed together (a test compares their tables). Nothing here trusts a length: each record is
 * inside the buffer, of the shape that its tag asks for, before anything reads it.
 */
#ifndef NSCTL_PLAN_H
#define NSCTL_PLAN_H

#include "sys.h"

#define PLAN_MAGIC "nsctl s2" /* eight bytes, without the closing NUL */
#define PLAN_VERSION 2
#define PLAN_HEADER 16 /* magic, version, bytes of all records */
#define RECORD_HEADER 8 /* tag, bytes of the payload */
#define PLAN_MOST (16u << 20)
#define FILTER_INSTRUCTION 8 /* struct sock_filter */
#define LIMIT_SIZE 20 /* resource, soft and hard limit */
#define NAMESPACE_SIZE 8 /* descriptor, CLONE_NEW* bits */

enum tag {
	TAG_MODE = 1,
	TAG_KEEP,
	TAG_STDIO,
	TAG_GO,
	TAG_PARENT,
	TAG_SIGNALS,
	TAG_WORDS,
	TAG_LABEL,
	TAG_CGROUP,
	TAG_LENIENT_GROUPS,
	TAG_NAMESPACES,
	TAG_TWO_PASSES,
	TAG_VIEW,
	TAG_ROOT,
	TAG_DIRECTORY,
	TAG_TERMINAL,
	TAG_SETSID,
	TAG_KEYRING,
	TAG_LIMITS,
	TAG_UMASK,
	TAG_CWD,
	TAG_CAPABILITIES,
	TAG_GROUPS,
	TAG_GID,
	TAG_UID,
	TAG_SECUREBITS,
	TAG_DEATH_SIGNAL,
	TAG_NO_NEW_PRIVS,
	TAG_FILTER,
	TAG_KEEP_CAPS,
	TAG_PROGRAM,
	TAG_SCRIPTS,
	TAG_ARGV,
	TAG_ENV,
	TAG_END,
};

enum mode { MODE_EXEC, MODE_INIT, MODE_ENTER, MODE_FORK };

struct bytes {
	const u8 *at; /* NULL: the plan has no such record */
	u32 size;
};

struct plan {
	struct bytes record[TAG_END];
	u32 filters; /* they lie one after the other, from record[TAG_FILTER] on */
	const char **argv;
	const char **env;
};

static u32 load32(const u8 *at)
{
	return at[0] | (u32)at[1] << 8 | (u32)at[2] << 16 | (u32)at[3] << 24;
}

static u64 load64(const u8 *at)
{
	return load32(at) | (u64)load32(at + 4) << 32;
}

/* Number of a record that holds one, or what is meant where the plan has no such record. */
static u32 number(const struct plan *plan, enum tag tag, u32 absent)
{
	return plan->record[tag].at ? load32(plan->record[tag].at) : absent;
}

static int descriptor(const struct plan *plan, enum tag tag)
{
	return (int)number(plan, tag, (u32)-1);
}

/* What may stand in a record: `least` bytes, then any number of `unit` up to `most` bytes. */
struct shape {
	u32 least, unit, most;
	enum { NUMBERS, STRING, STRINGS } holds;
};

static const struct shape shapes[TAG_END] = {
	[TAG_MODE] = { 4, 4, 4, NUMBERS },
	[TAG_KEEP] = { 0, 4, 4096, NUMBERS },
	[TAG_STDIO] = { 12, 4, 12, NUMBERS },
	[TAG_GO] = { 4, 4, 4, NUMBERS },
	[TAG_PARENT] = { 4, 4, 4, NUMBERS },
	[TAG_SIGNALS] = { 0, 4, 0, NUMBERS },
	[TAG_WORDS] = { 1, 1, PLAN_MOST, STRINGS },
	[TAG_LABEL] = { 2, 1, PLAN_MOST, STRINGS },
	[TAG_CGROUP] = { 4, 4, 4, NUMBERS },
	[TAG_LENIENT_GROUPS] = { 0, 4, 0, NUMBERS },
	[TAG_NAMESPACES] = { NAMESPACE_SIZE, NAMESPACE_SIZE, 16 * NAMESPACE_SIZE, NUMBERS },
	[TAG_TWO_PASSES] = { 0, 4, 0, NUMBERS },
	[TAG_VIEW] = { 0, 1, PLAN_MOST, STRINGS },
	[TAG_ROOT] = { 4, 4, 4, NUMBERS },
	[TAG_DIRECTORY] = { 4, 4, 4, NUMBERS },
	[TAG_TERMINAL] = { 8, 4, 8, NUMBERS },
	[TAG_SETSID] = { 0, 4, 0, NUMBERS },
	[TAG_KEYRING] = { 1, 1, PATH_SIZE, STRING },
	[TAG_LIMITS] = { LIMIT_SIZE, LIMIT_SIZE, 64 * LIMIT_SIZE, NUMBERS },
	[TAG_UMASK] = { 4, 4, 4, NUMBERS },
	[TAG_CWD] = { 2, 1, PATH_SIZE, STRING },
	[TAG_CAPABILITIES] = { 40, 8, 40, NUMBERS },
	[TAG_GROUPS] = { 0, 4, 65536 * 4, NUMBERS }, /* NGROUPS_MAX */
	[TAG_GID] = { 4, 4, 4, NUMBERS },
	[TAG_UID] = { 4, 4, 4, NUMBERS },
	[TAG_SECUREBITS] = { 4, 4, 4, NUMBERS },
	[TAG_DEATH_SIGNAL] = { 4, 4, 4, NUMBERS },
	[TAG_NO_NEW_PRIVS] = { 0, 4, 0, NUMBERS },
	[TAG_FILTER] = { 4 + FILTER_INSTRUCTION, FILTER_INSTRUCTION,
			 4 + BPF_MAXINSNS * FILTER_INSTRUCTION, NUMBERS },
	[TAG_KEEP_CAPS] = { 0, 4, 0, NUMBERS },
	[TAG_PROGRAM] = { 2, 1, PATH_SIZE, STRING },
	[TAG_SCRIPTS] = { 0, 4, 0, NUMBERS },
	[TAG_ARGV] = { 1, 1, PLAN_MOST, STRINGS },
	[TAG_ENV] = { 1, 1, PLAN_MOST, STRINGS },
};

static int well_shaped(enum tag tag, const u8 *at, u32 bytes)
{
	const struct shape *shape = &shapes[tag];
	u32 i;

	if (bytes < shape->least || bytes > shape->most || (bytes - shape->least) % shape->unit)
		return 0;
	if (shape->holds == NUMBERS || !bytes)
		return 1;
	if (at[bytes - 1])
		return 0;
	for (i = 0; shape->holds == STRING && i < bytes - 1; i++)
		if (!at[i])
			return 0;
	return 1;
}

/* Records that name descriptors of our own use, closed once that is done. */
static const enum tag own_descriptors[] = { TAG_PARENT, TAG_CGROUP, TAG_ROOT, TAG_DIRECTORY,
					    TAG_TERMINAL };

#define OWN_DESCRIPTORS (sizeof(own_descriptors) / sizeof(*own_descriptors))

/* Whether a descriptor is a standard stream, the report, or of our own use. */
static int is_own(const struct plan *plan, int report, int fd)
{
	u32 i;

	if (fd < 3 || fd == report)
		return 1;
	for (i = 0; i < OWN_DESCRIPTORS; i++)
		if (plan->record[own_descriptors[i]].at && fd == descriptor(plan, own_descriptors[i]))
			return 1;
	return 0;
}

/*
 * Descriptors fit an int, and none serves two purposes. Only the go may come over the report, where
 * that is a socket.
 */
static int descriptors_agree(const struct plan *plan, int report)
{
	const struct bytes *keep = &plan->record[TAG_KEEP], *stdio = &plan->record[TAG_STDIO],
			   *joined = &plan->record[TAG_NAMESPACES];
	int go = descriptor(plan, TAG_GO);
	u32 i, j;

	if (plan->record[TAG_GO].at && go != report && is_own(plan, report, go))
		return 0;
	for (i = 0; i < OWN_DESCRIPTORS; i++) {
		int fd = descriptor(plan, own_descriptors[i]);

		if (plan->record[own_descriptors[i]].at && (fd < 3 || fd == report))
			return 0;
		for (j = 0; j < i; j++)
			if (plan->record[own_descriptors[j]].at && fd >= 0 &&
			    fd == descriptor(plan, own_descriptors[j]))
				return 0;
	}
	for (i = 0; i < keep->size; i += 4) {
		int kept = (int)load32(keep->at + i);

		if (kept == go || is_own(plan, report, kept))
			return 0;
	}
	for (i = 0; i < joined->size; i += NAMESPACE_SIZE) {
		int fd = (int)load32(joined->at + i);

		if (fd == go || is_own(plan, report, fd))
			return 0;
	}
	for (i = 0; i < stdio->size; i += 4)
		if ((int)load32(stdio->at + i) < 0)
			return 0;
	return 1;
}

/* How many strings a record holds. */
static u32 strings_in(const struct bytes *strings)
{
	u32 count = 0, i;

	for (i = 0; i < strings->size; i++)
		count += !strings->at[i];
	return count;
}

/* What the shapes leave open: values that no kernel call would refuse for us. */
static int values_agree(const struct plan *plan, int report)
{
	const u8 *at = plan->record[TAG_FILTER].at;
	u32 i;

	for (i = 0; i < plan->filters; i++) {
		/* A listener's descriptor would need somebody to hand it to. */
		if (load32(at) & ~(u32)(SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW))
			return 0;
		at += load32(at - 4) + RECORD_HEADER;
	}
	return plan->record[TAG_ARGV].at && number(plan, TAG_MODE, MODE_FORK + 1) <= MODE_FORK &&
	       number(plan, TAG_UMASK, 0) <= 0777 &&
	       number(plan, TAG_DEATH_SIGNAL, 1) - 1 < SIGNALS &&
	       number(plan, TAG_GID, 0) != (u32)-1 && number(plan, TAG_UID, 0) != (u32)-1 &&
	       (!plan->record[TAG_LABEL].at || strings_in(&plan->record[TAG_LABEL]) == 2) &&
	       strings_in(&plan->record[TAG_VIEW]) % 2 == 0 && descriptors_agree(plan, report);
}

/*
 * Check a plan and note where its records are. Tags rise, and only filters repeat, so a plan has
 * one spelling. Returns -1, or the byte at which it is no plan.
 */
static long parse(struct plan *plan, const u8 *text, u32 bytes, int report)
{
	const char *magic = PLAN_MAGIC;
	u32 at, last = 0;

	if (bytes < PLAN_HEADER)
		return bytes;
	for (at = 0; at < 8; at++)
		if (text[at] != (u8)magic[at])
			return at;
	if (load32(text + 8) != PLAN_VERSION)
		return 8;
	if (load32(text + 12) != bytes - PLAN_HEADER)
		return 12;
	for (at = PLAN_HEADER; at < bytes;) {
		u32 tag, inside;

		if (bytes - at < RECORD_HEADER)
			return at;
		tag = load32(text + at);
		inside = load32(text + at + 4);
		if (tag >= TAG_END || inside > bytes - at - RECORD_HEADER ||
		    (tag <= last && !(tag == TAG_FILTER && last == TAG_FILTER)) ||
		    !well_shaped(tag, text + at + RECORD_HEADER, inside))
			return at;
		if (!plan->record[tag].at)
			plan->record[tag] = (struct bytes){ text + at + RECORD_HEADER, inside };
		plan->filters += tag == TAG_FILTER;
		last = tag;
		at += RECORD_HEADER + inside;
	}
	return values_agree(plan, report) ? -1 : (long)at;
}

#endif
