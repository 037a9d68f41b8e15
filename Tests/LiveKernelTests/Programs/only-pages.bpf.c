// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

struct counter {
	__u64 calls;
};

TASK_STORAGE_USER_PAGE(counters, struct counter);

SEC("tp_btf/sys_enter")
int count_all(void *context)
{
	struct counter *counter = task_storage_get(counters, bpf_get_current_task_btf());

	if (counter)
		counter->calls++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
