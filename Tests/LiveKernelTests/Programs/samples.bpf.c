// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

const volatile __s32 target_tgid = -1;
__u64 samples;

SEC("perf_event")
int count_samples(void *context)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->tgid == target_tgid)
		__sync_fetch_and_add(&samples, 1);
	return 0;
}

SEC("raw_tp/sys_enter")
int of_another_type(void *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
