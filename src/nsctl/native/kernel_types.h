/*
 * The kernel's structures as far as nsctl.bpf.c reads them.
 *
 * Only names and types count: preserve_access_index makes the compiler note each access, and the
 * kernel that loads the program puts in its own offsets (CO-RE, BPF_PROG_LOAD with core_relos). A
 * name with ___ and more is the same structure in another kernel's form.
 */
#ifndef NSCTL_KERNEL_TYPES_H
#define NSCTL_KERNEL_TYPES_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Of these only the size counts: they are read whole. */
typedef struct {
	int counter;
} counter_t;

typedef struct {
	u32 val;
} kernel_id_t;

typedef struct {
	u64 val;
} kernel_cap_t;

struct list_head {
	struct list_head *next;
};

struct proc_ns_operations {
	const char *name;
};

struct ns_common {
	const struct proc_ns_operations *ops;
	u32 inum;
	/* Since 6.18. */
	u32 ns_type;
	u64 ns_id;
	struct list_head ns_list_node;
	counter_t __ns_ref;
};

/* Of proc_ns_operations, the type; the kernel has both in all versions that have BTF. */
struct proc_ns_operations___type {
	int type;
};

struct user_namespace {
	struct user_namespace *parent;
	kernel_id_t owner;
	struct ns_common ns;
};

struct pid_namespace {
	struct user_namespace *user_ns;
	struct pid_namespace *parent;
	void *child_reaper;
	u32 level;
	struct ns_common ns;
};

struct mnt_namespace {
	struct user_namespace *user_ns;
	struct ns_common ns;
};

struct uts_namespace {
	struct user_namespace *user_ns;
	struct ns_common ns;
};

struct ipc_namespace {
	struct user_namespace *user_ns;
	struct ns_common ns;
};

struct net {
	struct user_namespace *user_ns;
	struct ns_common ns;
};

struct cgroup_namespace {
	struct user_namespace *user_ns;
	struct ns_common ns;
};

struct time_namespace {
	struct user_namespace *user_ns;
	struct ns_common ns;
};

struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct time_namespace *time_ns;
	struct time_namespace *time_ns_for_children;
	struct cgroup_namespace *cgroup_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	u32 level;
	struct upid numbers[1];
};

struct group_info {
	int ngroups;
	kernel_id_t gid[1];
};

struct cred {
	kernel_id_t uid, gid, suid, sgid, euid, egid, fsuid, fsgid;
	kernel_cap_t cap_inheritable, cap_permitted, cap_effective, cap_bset, cap_ambient;
	struct user_namespace *user_ns;
	struct group_info *group_info;
};

struct css_set {
	void *dfl_cgrp;
};

struct signal_struct {
	int nr_threads;
};

struct seccomp {
	int mode;
	counter_t filter_count;
};

struct dentry;
struct super_block;

struct inode {
	u16 i_mode;
	u32 i_rdev;
	u64 i_ino;
	struct super_block *i_sb;
	void *i_private;
};

struct qstr {
	const u8 *name;
};

struct dentry {
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

/* Since 6.18; before, they were linked by mnt_instance. */
struct mount {
	struct vfsmount mnt;
	struct mount *mnt_next_for_sb;
	struct mnt_namespace *mnt_ns;
	int mnt_id;
	u64 mnt_id_unique;
};

struct super_block {
	u64 s_magic;
	struct mount *s_mounts;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct inode *f_inode;
	struct path f_path;
	void *private_data;
};

struct fdtable {
	u32 max_fds;
	struct file **fd;
	u64 *open_fds;
};

struct files_struct {
	struct fdtable *fdt;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	u16 skc_family;
	u8 skc_state;
	possible_net_t skc_net;
};

struct sk_buff_head {
	u32 qlen;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
};

struct scm_stat {
	counter_t nr_fds;
};

struct unix_sock {
	struct scm_stat scm_stat;
};

struct socket {
	struct sock *sk;
};

struct task_struct {
	u32 __state;
	int exit_state;
	u32 flags;
	int pid, tgid;
	u64 atomic_flags;
	u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	const struct cred *real_cred;
	char comm[16];
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct seccomp seccomp;
};

struct bpf_iter__task {
	void *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif
