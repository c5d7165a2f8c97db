/*
 * Who the process is and what it may do: capability sets, ids, filters, each as the plan says.
 *
 * What belongs here: one function a kind of power. The order between them is give_up_powers, in
 * stage2.c.
 */
#ifndef NSCTL_POWERS_H
#define NSCTL_POWERS_H

#include "plan.h"
#include "report.h"

static struct plan plan;

struct powers {
	u64 inheritable, permitted, effective, bounding, ambient;
};

static u64 bit(unsigned capability)
{
	return (u64)1 << capability;
}

static u64 permitted_now(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	must(sys(capget, &header, data), STEP_CAPABILITIES, 0);
	return data[0].permitted | (u64)data[1].permitted << 32;
}

static void set_powers(const struct powers *powers, u64 besides, enum step step)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	u64 effective = powers->effective | besides, permitted = powers->permitted | besides;
	struct __user_cap_data_struct data[2] = {
		{ (u32)effective, (u32)permitted, (u32)powers->inheritable },
		{ (u32)(effective >> 32), (u32)(permitted >> 32), (u32)(powers->inheritable >> 32) },
	};

	must(sys(capset, &header, data), step, 0);
}

/*
 * The sets of the plan. For root, execve(2) makes the bounding and the inheritable set permitted,
 * whatever was permitted before: they may not hold more.
 */
static void wanted_powers(struct powers *powers)
{
	const u8 *at = plan.record[TAG_CAPABILITIES].at;
	u32 uid = number(&plan, TAG_UID, (u32)sys(geteuid));

	*powers = (struct powers){ load64(at), load64(at + 8), load64(at + 16), load64(at + 24),
				   load64(at + 32) };
	if (!uid && !(number(&plan, TAG_SECUREBITS, 0) & SECBIT_NOROOT)) {
		powers->bounding &= powers->permitted;
		powers->inheritable &= powers->permitted;
	}
}

static void lower_bounding_set(u64 bounding)
{
	unsigned capability;
	long held;

	/* EINVAL comes beyond the last that the kernel has. */
	for (capability = 0; capability < 64; capability++) {
		held = sys(prctl, PR_CAPBSET_READ, capability);
		if (held == -EINVAL)
			break;
		if (must(held, STEP_BOUNDING, capability) && !(bounding & bit(capability)))
			must(sys(prctl, PR_CAPBSET_DROP, capability), STEP_BOUNDING, capability);
	}
}

/* fs.suid_dumpable=1 would let a change of ids make the process readable again. */
static void stay_unreadable(void)
{
	must(sys(prctl, PR_SET_DUMPABLE, 0), STEP_DUMPABLE, 0);
}

static long groups_before;

/*
 * Where a user namespace is entered, groups are dropped before and after: either may be refused,
 * only both is a failure.
 */
static void drop_groups_early(void)
{
	if (plan.record[TAG_LENIENT_GROUPS].at)
		groups_before = sys(setgroups, 0, NULL);
}

static void change_ids(void)
{
	const struct bytes *groups = &plan.record[TAG_GROUPS];
	u32 gid = number(&plan, TAG_GID, (u32)-1), uid = number(&plan, TAG_UID, (u32)-1);

	/* On these machines a list of groups lies in the plan as the kernel reads it. */
	if (groups->at) {
		long result = sys(setgroups, groups->size / 4, groups->at);

		if (!plan.record[TAG_LENIENT_GROUPS].at || groups_before < 0)
			must(result, STEP_GROUPS, 0);
	}
	if (gid != (u32)-1)
		must(sys(setresgid, gid, gid, gid), STEP_GID, 0);
	stay_unreadable();
	if (uid == (u32)-1)
		return;
	if (plan.record[TAG_CAPABILITIES].at)
		must(sys(prctl, PR_SET_KEEPCAPS, 1), STEP_UID, 0);
	must(sys(setresuid, uid, uid, uid), STEP_UID, 0);
	if (plan.record[TAG_CAPABILITIES].at)
		must(sys(prctl, PR_SET_KEEPCAPS, 0), STEP_UID, 0);
	stay_unreadable();
}

static void raise_ambient_set(u64 ambient)
{
	unsigned capability;

	must(sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), STEP_AMBIENT, 0);
	for (capability = 0; capability < 64; capability++)
		if (ambient & bit(capability))
			must(sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0),
			     STEP_AMBIENT, capability);
}

/* What was granted in a user namespace stays over exec for whoever is not root there. */
static void keep_powers(void)
{
	u64 held = permitted_now();
	struct powers powers = { held, held, held, 0, 0 };

	set_powers(&powers, 0, STEP_CAPABILITIES);
	raise_ambient_set(held);
}

/*
 * Oldest first. An older one, or one that we are under already, may refuse seccomp(2) and still let
 * prctl(2) through, which has no flags.
 */
static void load_filters(void)
{
	const u8 *at = plan.record[TAG_FILTER].at;
	u32 i;

	for (i = 0; i < plan.filters; i++) {
		u32 bytes = load32(at - 4), flags = load32(at);
		struct sock_fprog program = { (unsigned short)((bytes - 4) / FILTER_INSTRUCTION),
					      (void *)(at + 4) };
		long result = sys(seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);

		if (result == -EPERM || result == -EACCES || result == -ENOSYS)
			result = sys(prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
		must(result, STEP_FILTER, i);
		at += bytes + RECORD_HEADER;
	}
}

#endif
