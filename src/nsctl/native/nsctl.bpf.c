/*
 * The kernel's own lists of processes, open files and namespaces, as records in arrays that their
 * reader maps.
 *
 * What belongs here: walking a list and copying what a record holds. What does not: judging it.
 * Pointers are followed with bpf_probe_read_kernel(), which fails where there is nothing; what may
 * change under the reader's eyes is read again behind it. Nothing is written but the arrays, and
 * no lock is taken. nsctl.kernel.lists is the other end: the structures below are its own.
 *
 * Iterators over tasks and raw tracepoints run inside of an RCU read-side section: tasks, their
 * credentials, inodes and namespaces stay what they are until it ends. An nsproxy does not.
 */
#include "kernel_types.h"

#define SEC(name) __attribute__((section(name), used))
#define NULL ((void *)0)

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*bpf_get_current_task)(void) = (void *)35;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*bpf_btf_find_by_name_kind)(const char *name, int size, u32 kind, int flags) =
	(void *)167;
static long (*bpf_loop)(u32 count, void *function, void *context, u64 flags) = (void *)181;

/* The maps, by these names, are made by the reader; the packed object names them in its code. */
extern int run_map, task_map, cred_map, file_map, space_map, bind_map;

#define FROM(place) ((const void *)__builtin_preserve_access_index(&(place)))
/* Copies a field; its own type may be a structure of the same size. */
#define GET(to, place) bpf_probe_read_kernel(&(to), sizeof(to), FROM(place))
/* The built-in gives 32 bits without a sign, and some fields lie before others. */
#define OFFSET(type, field) ((long)__builtin_preserve_field_info(((struct type *)0)->field, 0))
#define FIELD_EXISTS(type, field) __builtin_preserve_field_info(((struct type *)0)->field, 2)

#define NSFS_MAGIC 0x6e736673
#define PIPEFS_MAGIC 0x50495045
#define SOCKFS_MAGIC 0x534f434b
#define ANON_INODE_FS_MAGIC 0x09041934
#define S_IFMT 0170000
#define S_IFCHR 0020000
#define TUN_DEVICE (10 << 20 | 200)
#define AF_UNIX 1
#define TCP_LISTEN 10
#define KIND_FUNC 12
#define BINDS 8 /* behind the eight types */
#define LINKS 10
#define GROUPS 32
#define LEVELS 33

/* What is asked and what came of it: one for all programs. Counts go on where an array is full. */
struct run {
	u32 tasks, files, spaces, binds;	  /* records found */
	u32 task_room, file_room, space_room, bind_room; /* places in the arrays */
	u32 want_files, want_creds;
	u32 own_fd;	  /* descriptor of a namespace, in the caller's table */
	u32 level;	  /* of the caller's PID namespace, 0 for the initial one */
	u32 walked;	  /* types whose list was walked to its end */
	u32 binds_walked; /* the list of mounts of nsfs was walked to its end */
	u32 kind;	  /* of the list to walk: types in the order of NamespaceType, or BINDS */
	u32 missed;	  /* files that were another's when they were looked at again */
};

struct task_record {
	u32 pid, tgid, ppid, flags;
	u64 start;
	u32 state, exit_state, threads, euid;
	u32 ns[LINKS]; /* in the order of NS_LINKS */
	u32 childless; /* in place of ns[8]: a PID namespace that nothing was ever in */
	u32 has_table; /* a thread with a table of descriptors of its own */
	u64 css_set, cgroup;
	char comm[16];
};

struct cred_record {
	u32 ids[8];
	u64 caps[5];
	u32 flags, seccomp, filters, groups;
	u32 gids[GROUPS];
	u32 levels, pad;
	struct {
		u32 number, pad;
		u64 space;
	} numbers[LEVELS];
};

enum { NAMESPACE = 1, SOCKET, TUN, RING };
enum { SOME_FILES = 1, ALL_SOCKETS };

struct file_record {
	u32 kind, pid, tid, fd;
	u64 table;
	u64 ino;
	u32 type; /* of a namespace; of a socket, whether it may have descriptors waiting */
	u32 net;
};

struct space_record {
	u64 id;
	u32 type, inum, owner, parent, uid, refs;
};

struct bind_record {
	u64 unique, mntns_id;
	u32 mntns, id, type, inum;
};

static u32 inum_of(const void *space, const void *member)
{
	u32 inum = 0;

	if (space)
		bpf_probe_read_kernel(&inum, sizeof(inum), member);
	return inum;
}

#define INUM(space) inum_of((space), FROM((space)->ns.inum))

static struct run *the_run(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&run_map, &zero);
}

/* --- Open files ------------------------------------------------------------------------------ */

struct scan {
	struct run *run;
	struct file **slots;
	u64 *open;
	u64 word;
	u64 table;
	struct super_block *super; /* the last one, and what it is */
	u64 magic;
	struct net *net;
	u32 base, pid, tid;
};

static int put_file(struct scan *scan, u32 fd, struct file *file, const struct file_record *record)
{
	struct run *run = scan->run;
	struct file *again = NULL;
	struct file_record *place;
	u32 index;

	/* The memory of a file is used again at once, without RCU: it must be in its place still. */
	bpf_probe_read_kernel(&again, sizeof(again), scan->slots + fd);
	if (again != file) {
		run->missed++;
		return 0;
	}
	index = run->files++;
	place = bpf_map_lookup_elem(&file_map, &index);
	if (place)
		*place = *record;
	return 0;
}

static u32 type_of(struct ns_common *space)
{
	u32 type = 0;

	if (FIELD_EXISTS(ns_common, ns_type)) {
		GET(type, space->ns_type);
	} else {
		struct proc_ns_operations___type *ops = NULL;

		GET(ops, space->ops);
		GET(type, ops->type);
	}
	return type;
}

static int look(u32 bit, struct scan *scan)
{
	struct file_record record = {};
	struct file *file = NULL;
	struct inode *inode = NULL;
	struct super_block *super = NULL;
	u64 magic = 0;
	u32 fd = scan->base + bit;

	if (!(scan->word >> (bit & 63)))
		return 1;
	if (!(scan->word >> (bit & 63) & 1))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), scan->slots + fd);
	if (!file)
		return 0;
	GET(inode, file->f_inode);
	GET(super, inode->i_sb);
	/* Most files of a process are on few file systems. */
	if (super != scan->super) {
		GET(magic, super->s_magic);
		scan->super = super;
		scan->magic = magic;
	}
	magic = scan->magic;
	if (magic == PIPEFS_MAGIC)
		return 0;
	if (magic == SOCKFS_MAGIC) {
		struct socket *socket = NULL;
		struct sock *sock = NULL;
		struct net *net = NULL;
		u16 family = 0;

		GET(socket, file->private_data);
		GET(sock, socket->sk);
		if (!sock)
			return 0;
		GET(net, sock->__sk_common.skc_net.net);
		GET(family, sock->__sk_common.skc_family);
		if (family == AF_UNIX) {
			u8 state = 0;

			GET(state, sock->__sk_common.skc_state);
			if (state == TCP_LISTEN)
				GET(record.type, sock->sk_receive_queue.qlen);
			else
				GET(record.type, ((struct unix_sock *)sock)->scm_stat.nr_fds);
		}
		if (net == scan->net && !record.type && scan->run->want_files != ALL_SOCKETS)
			return 0;
		record.kind = SOCKET;
		record.net = INUM(net);
	} else if (magic == NSFS_MAGIC) {
		struct ns_common *space = NULL;

		GET(space, inode->i_private);
		record.kind = NAMESPACE;
		record.type = type_of(space);
	} else if (magic == ANON_INODE_FS_MAGIC) {
		struct dentry *dentry = NULL;
		const u8 *name = NULL;
		u64 head = 0;
		u32 tail = 0;

		GET(dentry, file->f_path.dentry);
		GET(name, dentry->d_name.name);
		bpf_probe_read_kernel(&head, 8, name);
		bpf_probe_read_kernel(&tail, 3, name + 8);
		/* "[io_urin" and "g]\0", as they lie in memory. */
		if (head != 0x6e6972755f6f695bull || tail != 0x5d67)
			return 0;
		record.kind = RING;
	} else {
		u32 device = 0;
		u16 mode = 0;

		GET(device, inode->i_rdev);
		if (device != TUN_DEVICE)
			return 0;
		GET(mode, inode->i_mode);
		if ((mode & S_IFMT) != S_IFCHR)
			return 0;
		record.kind = TUN;
	}
	record.pid = scan->pid;
	record.tid = scan->tid;
	record.fd = fd;
	record.table = scan->table;
	GET(record.ino, inode->i_ino);
	return put_file(scan, fd, file, &record);
}

static int look_at_word(u32 index, struct scan *scan)
{
	scan->word = 0;
	bpf_probe_read_kernel(&scan->word, sizeof(scan->word), scan->open + index);
	scan->base = index * 64;
	if (scan->word)
		bpf_loop(64, look, scan, 0);
	return 0;
}

static void look_through(struct run *run, struct task_struct *task, struct files_struct *files,
			 struct net *net)
{
	struct scan scan = {};
	struct fdtable *table = NULL;
	u32 count = 0;

	GET(table, files->fdt);
	GET(count, table->max_fds);
	GET(scan.slots, table->fd);
	GET(scan.open, table->open_fds);
	scan.run = run;
	scan.table = (u64)files;
	scan.pid = task->tgid;
	scan.tid = task->pid;
	scan.net = net;
	bpf_loop((count + 63) / 64, look_at_word, &scan, 0);
}

/* --- Tasks ------------------------------------------------------------------------------------ */

static void put_creds(u32 index, struct task_struct *task, const struct cred *cred, struct pid *pid)
{
	struct cred_record *place = bpf_map_lookup_elem(&cred_map, &index);
	struct group_info *groups = NULL;
	u32 level = 0;
	u64 bits = 0;

	if (!place)
		return;
	GET(place->ids[0], cred->uid);
	GET(place->ids[1], cred->euid);
	GET(place->ids[2], cred->suid);
	GET(place->ids[3], cred->fsuid);
	GET(place->ids[4], cred->gid);
	GET(place->ids[5], cred->egid);
	GET(place->ids[6], cred->sgid);
	GET(place->ids[7], cred->fsgid);
	GET(place->caps[0], cred->cap_inheritable);
	GET(place->caps[1], cred->cap_permitted);
	GET(place->caps[2], cred->cap_effective);
	GET(place->caps[3], cred->cap_bset);
	GET(place->caps[4], cred->cap_ambient);
	GET(groups, cred->group_info);
	GET(place->groups, groups->ngroups);
	bpf_probe_read_kernel(place->gids, sizeof(place->gids), FROM(groups->gid));
	GET(bits, task->atomic_flags);
	place->flags = bits;
	GET(place->seccomp, task->seccomp.mode);
	if (FIELD_EXISTS(task_struct, seccomp.filter_count))
		GET(place->filters, task->seccomp.filter_count);
	else
		place->filters = -1;
	GET(level, pid->level);
	place->levels = level + 1;
	if (level < LEVELS)
		bpf_probe_read_kernel(place->numbers, (level + 1) * sizeof(place->numbers[0]),
				      FROM(pid->numbers));
}

/* An nsproxy, up to its last member: one copy takes less time than nine. */
struct proxy_copy {
	u64 words[11];
};

#define COPIED(field) (*(void **)((char *)copy + OFFSET(nsproxy, field)))

static void read_spaces(struct task_record *to, const struct proxy_copy *copy)
{
	struct mnt_namespace *mnt = NULL;
	struct net *net = NULL;
	struct ipc_namespace *ipc = NULL;
	struct uts_namespace *uts = NULL;
	struct cgroup_namespace *cgroup = NULL;
	struct pid_namespace *pid = NULL;
	void *reaper = NULL;
	u32 inum;

	mnt = COPIED(mnt_ns);
	to->ns[0] = INUM(mnt);
	net = COPIED(net_ns);
	to->ns[2] = INUM(net);
	ipc = COPIED(ipc_ns);
	to->ns[3] = INUM(ipc);
	uts = COPIED(uts_ns);
	to->ns[4] = INUM(uts);
	cgroup = COPIED(cgroup_ns);
	to->ns[6] = INUM(cgroup);
	if (FIELD_EXISTS(nsproxy, time_ns)) {
		struct time_namespace *time = NULL;

		time = COPIED(time_ns);
		to->ns[7] = INUM(time);
		time = COPIED(time_ns_for_children);
		to->ns[9] = INUM(time);
	}
	pid = COPIED(pid_ns_for_children);
	inum = INUM(pid);
	GET(reaper, pid->child_reaper);
	/* As in /proc, where pid_for_children is not there before the first child. */
	to->ns[8] = reaper ? inum : 0;
	to->childless = reaper ? 0 : inum;
}

SEC("iter/task")
int tasks(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct task_struct *leader = NULL, *parent = NULL;
	struct nsproxy *proxy = NULL, *before, *leaders_proxy = NULL;
	struct files_struct *files = NULL, *leaders_files = NULL;
	struct proxy_copy copy = {};
	struct run *run = the_run();
	struct task_record *place;
	struct net *net = NULL;
	u32 index, has_table, is_leader;

	if (!task || !run)
		return 0;
	is_leader = task->pid == task->tgid;
	GET(proxy, task->nsproxy);
	if (!is_leader) {
		GET(leader, task->group_leader);
		GET(leaders_proxy, leader->nsproxy);
		GET(files, task->files);
		GET(leaders_files, leader->files);
		/* One that is where its first thread is, with the same table, is no news. */
		if ((proxy == leaders_proxy && files == leaders_files) || !proxy)
			return 0;
		has_table = files && files != leaders_files;
	} else {
		GET(files, task->files);
		leaders_proxy = proxy;
		has_table = files != NULL;
	}
	if (proxy) {
		/* The memory of an nsproxy is used again at once: it must be the task's still. */
		bpf_probe_read_kernel(&copy, OFFSET(nsproxy, cgroup_ns) + sizeof(void *), proxy);
		before = proxy;
		GET(proxy, task->nsproxy);
		if (proxy && proxy != before)
			bpf_probe_read_kernel(&copy, OFFSET(nsproxy, cgroup_ns) + sizeof(void *),
					      proxy);
		net = *(struct net **)((char *)&copy + OFFSET(nsproxy, net_ns));
	}
	index = run->tasks++;
	place = bpf_map_lookup_elem(&task_map, &index);
	if (place) {
		const struct cred *cred = NULL;
		struct user_namespace *user = NULL;
		struct pid_namespace *pid_space = NULL;
		struct signal_struct *signal = NULL;
		struct css_set *set = NULL;
		struct pid *pid = NULL;
		u32 level = 0;

		place->pid = task->pid;
		place->tgid = task->tgid;
		place->flags = task->flags;
		place->start = task->start_boottime;
		place->state = task->__state;
		place->exit_state = task->exit_state;
		GET(place->comm, task->comm);
		GET(parent, task->real_parent);
		GET(place->ppid, parent->tgid);
		GET(signal, task->signal);
		GET(place->threads, signal->nr_threads);
		GET(cred, task->real_cred);
		GET(place->euid, cred->euid);
		GET(user, cred->user_ns);
		GET(pid, task->thread_pid);
		GET(level, pid->level);
		if (pid && level < LEVELS)
			GET(pid_space, pid->numbers[level].ns);
		if (proxy)
			read_spaces(place, &copy);
		place->ns[1] = INUM(pid_space);
		place->ns[5] = INUM(user);
		place->has_table = has_table;
		GET(set, task->cgroups);
		GET(place->cgroup, set->dfl_cgrp);
		place->css_set = (u64)set;
		if (run->want_creds && is_leader)
			put_creds(index, task, cred, pid);
	}
	if (run->want_files && has_table) {
		/* Whose sockets are elsewhere, the first thread's namespaces tell. */
		if (!is_leader) {
			net = NULL;
			GET(net, leaders_proxy->net_ns);
		}
		look_through(run, task, files, net);
	}
	return 0;
}

/* --- Namespaces ------------------------------------------------------------------------------- */

struct walk {
	struct run *run;
	struct list_head *first, *node;
	const struct proc_ns_operations *ops;
	/* From ns_common to what the structure around it says; 0 where it does not. */
	long owner, parent, uid;
	long whole; /* from the structure to its ns_common */
	u32 type, ended;
};

static int visit(u32 number, struct walk *walk)
{
	struct space_record record = {}, *place;
	const struct proc_ns_operations *ops = NULL;
	struct list_head *node = walk->node, *next = NULL;
	struct user_namespace *owner = NULL;
	struct ns_common *space;
	void *parent = NULL;
	u32 index;

	space = (void *)((char *)node - OFFSET(ns_common, ns_list_node));
	GET(ops, space->ops);
	/* The ring's head is no namespace. */
	if (ops == walk->ops) {
		GET(record.refs, space->__ns_ref);
		GET(record.id, space->ns_id);
		GET(record.inum, space->inum);
		record.type = walk->type;
		bpf_probe_read_kernel(&owner, sizeof(owner), (char *)space + walk->owner);
		record.owner = INUM(owner);
		if (walk->parent)
			bpf_probe_read_kernel(&parent, sizeof(parent), (char *)space + walk->parent);
		/* A parent is of the same type. */
		if (parent)
			bpf_probe_read_kernel(&record.parent, sizeof(record.parent),
					      (char *)parent + walk->whole + OFFSET(ns_common, inum));
		if (walk->uid)
			bpf_probe_read_kernel(&record.uid, sizeof(record.uid),
					      (char *)space + walk->uid);
		index = walk->run->spaces++;
		place = bpf_map_lookup_elem(&space_map, &index);
		if (place)
			*place = record;
	}
	/* The first member of struct list_head. */
	bpf_probe_read_kernel(&next, sizeof(next), node);
	walk->node = next;
	walk->ended = next == walk->first;
	return walk->ended || !next;
}

static void walk_spaces(struct walk *walk, struct ns_common *own)
{
	GET(walk->ops, own->ops);
	walk->type = type_of(own);
	walk->node = walk->first = (void *)((char *)own + OFFSET(ns_common, ns_list_node));
	bpf_loop(1 << 20, visit, walk, 0);
	walk->run->walked += walk->ended;
}

/* Where what is said of a namespace lies in its own structure. */
#define DESCRIBE(structure, owner_field)                                          \
	do {                                                                      \
		walk.whole = OFFSET(structure, ns);                               \
		walk.owner = OFFSET(structure, owner_field) - OFFSET(structure, ns); \
	} while (0)

static int visit_bind(u32 number, struct walk *walk)
{
	struct mount *mount = (void *)walk->node, *next = NULL;
	struct bind_record record = {}, *place;
	struct mnt_namespace *mntns = NULL;
	struct ns_common *space = NULL;
	struct dentry *root = NULL;
	struct inode *inode = NULL;
	u32 index;
	u64 ino = 0;

	if (!mount) {
		walk->ended = 1;
		return 1;
	}
	GET(mntns, mount->mnt_ns);
	/* One of the kernel's own has none, or a pointer that says so: nothing is read behind it. */
	record.mntns = INUM(mntns);
	if (record.mntns) {
		GET(record.mntns_id, mntns->ns.ns_id);
		GET(record.id, mount->mnt_id);
		GET(record.unique, mount->mnt_id_unique);
		GET(root, mount->mnt.mnt_root);
		GET(inode, root->d_inode);
		GET(ino, inode->i_ino);
		GET(space, inode->i_private);
		record.inum = ino;
		record.type = type_of(space);
		index = walk->run->binds++;
		place = bpf_map_lookup_elem(&bind_map, &index);
		if (place)
			*place = record;
	}
	GET(next, mount->mnt_next_for_sb);
	walk->node = (void *)next;
	return 0;
}

/* All mounts of nsfs, of which a namespace of the caller's own leads to the file system. */
static void walk_binds(struct run *run, struct task_struct *task)
{
	struct walk walk = { .run = run };
	struct files_struct *files = NULL;
	struct fdtable *table = NULL;
	struct file **slots = NULL, *file = NULL;
	struct inode *inode = NULL;
	struct super_block *super = NULL;
	u64 magic = 0;

	GET(files, task->files);
	GET(table, files->fdt);
	GET(slots, table->fd);
	bpf_probe_read_kernel(&file, sizeof(file), slots + run->own_fd);
	GET(inode, file->f_inode);
	GET(super, inode->i_sb);
	GET(magic, super->s_magic);
	if (magic != NSFS_MAGIC)
		return;
	GET(walk.node, super->s_mounts);
	bpf_loop(1 << 20, visit_bind, &walk, 0);
	run->binds_walked = walk.ended;
}

/* One list a run, so that the kernel has to check one walk. */
SEC("raw_tp")
int spaces(void *context)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct nsproxy *proxy = NULL;
	struct user_namespace *user = NULL;
	const struct cred *cred = NULL;
	struct pid *pid = NULL;
	struct run *run = the_run();
	struct walk walk = { .run = run };
	char *own = NULL;
	u32 kind;

	if (!run)
		return 0;
	kind = run->kind;
	GET(pid, task->thread_pid);
	GET(run->level, pid->level);
	if (kind == BINDS) {
		if (FIELD_EXISTS(super_block, s_mounts) && FIELD_EXISTS(mount, mnt_next_for_sb) &&
		    FIELD_EXISTS(ns_common, ns_id))
			walk_binds(run, task);
		return 0;
	}
	if (!FIELD_EXISTS(ns_common, ns_list_node) || !FIELD_EXISTS(ns_common, ns_id))
		return 0;
	GET(proxy, task->nsproxy);
	if (kind == 0) {
		GET(own, proxy->mnt_ns);
		DESCRIBE(mnt_namespace, user_ns);
	} else if (kind == 1) {
		u32 level = run->level;

		if (level < LEVELS)
			GET(own, pid->numbers[level].ns);
		DESCRIBE(pid_namespace, user_ns);
		walk.parent = OFFSET(pid_namespace, parent) - OFFSET(pid_namespace, ns);
	} else if (kind == 2) {
		GET(own, proxy->net_ns);
		DESCRIBE(net, user_ns);
	} else if (kind == 3) {
		GET(own, proxy->ipc_ns);
		DESCRIBE(ipc_namespace, user_ns);
	} else if (kind == 4) {
		GET(own, proxy->uts_ns);
		DESCRIBE(uts_namespace, user_ns);
	} else if (kind == 5) {
		GET(cred, task->real_cred);
		GET(user, cred->user_ns);
		own = (void *)user;
		DESCRIBE(user_namespace, parent);
		walk.parent = walk.owner;
		walk.uid = OFFSET(user_namespace, owner) - OFFSET(user_namespace, ns);
	} else if (kind == 6) {
		GET(own, proxy->cgroup_ns);
		DESCRIBE(cgroup_namespace, user_ns);
	} else if (FIELD_EXISTS(nsproxy, time_ns)) {
		GET(own, proxy->time_ns);
		DESCRIBE(time_namespace, user_ns);
	}
	if (own)
		walk_spaces(&walk, (void *)(own + walk.whole));
	return 0;
}

/* --- Where a program is attached -------------------------------------------------------------- */

struct question {
	char name[16];
	u64 answer;
};

SEC("syscall")
int number(struct question *question)
{
	char name[16];

	/* The helper reads from the stack only. */
	__builtin_memcpy(name, question->name, sizeof(name));
	question->answer = bpf_btf_find_by_name_kind(name, sizeof(name), KIND_FUNC, 0);
	return 0;
}

