// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

struct value {
	__u64 words[2];
};

TASK_STORAGE(values, struct value);

#define MAX_CALLS 64

const volatile __s32 target_tgid = -1;
const volatile __s64 toggle = -1;

__s32 recorded_thread;
__u32 count;
__s64 numbers[MAX_CALLS];

struct task_struct {
	int pid;
	int tgid;
} __attribute__((preserve_access_index));

/* Records the numbers of the calls that a thread makes between two calls with the number 'toggle'. */
SEC("tp_btf/sys_enter")
int record(__u64 *context)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__s64 number = context[1];

	if (task->tgid != target_tgid)
		return 0;
	if (number == toggle)
		recorded_thread = recorded_thread ? 0 : task->pid;
	else if (task->pid == recorded_thread && count < MAX_CALLS)
		numbers[count++] = number;
	return 0;
}

/* Never attached. */
SEC("tp_btf/sys_exit")
int use_values(void *context)
{
	return !!task_storage_get(values, bpf_get_current_task_btf());
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
