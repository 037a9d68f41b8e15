// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* BPFPlugin: name=EchoObject */
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

struct echo {
	__u64 calls;
	__u32 said;
	__u32 heard;
	__u32 bits;
	__u32 reserved;
};

TASK_STORAGE(echoes, struct echo);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct echo);
} not_task_storage SEC(".maps");

const volatile __s32 target_tgid = -1;
const volatile __u32 creates = 1;
const volatile __s32 call = __NR_getppid;

/* Counts one system call of the threads of one process, and copies `said` to `heard`. */
SEC("tp_btf/sys_enter")
int BPF_PROG(repeat, struct pt_regs *registers, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct echo *echo;

	if (task->tgid != target_tgid || number != call)
		return 0;
	echo = creates ? task_storage_get_or_create(echoes, task) : task_storage_get(echoes, task);
	if (!echo)
		return 0;
	echo->calls++;
	echo->heard = echo->said;
	__sync_fetch_and_or(&echo->bits, 4);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
