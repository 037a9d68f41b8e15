// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

struct small {
	__u64 owner;
	__u64 steps;
};

struct large {
	__u64 owner;
	__u64 words[64];
};

TASK_STORAGE(first, struct small);
TASK_STORAGE(second, struct small);
TASK_STORAGE(third, struct large);

/* Never attached: the driver acts as the program. */
SEC("tp_btf/sys_enter")
int use_values(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task_storage_get(first, task) && task_storage_get(second, task) &&
	       task_storage_get(third, task);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
