// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct task_struct {
	int pid;
	int tgid;
} __attribute__((preserve_access_index));

struct stat {
	__u64 calls;
	__u64 matches;
};

TASK_STORAGE(stats, struct stat);

/* A map whose name looks like an internal name of the other. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stat);
} stats_user_page SEC(".maps");

const volatile __s32 target_tgid = -1;
__u32 argument;

/* Compares with a number that had a meaning in an earlier version of the header. */
SEC("tp_btf/sys_enter")
int BPF_PROG(count_call, struct pt_regs *registers, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct stat *stat, *own;

	if (task->tgid != target_tgid || number != __NR_getppid)
		return 0;
	stat = task_storage_get(stats, task);
	if (stat) {
		stat->calls++;
		if (argument == 0x6d6d6170)
			stat->matches++;
	}
	own = bpf_task_storage_get(&stats_user_page, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (own)
		own->calls += 2;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
