// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

const volatile __s32 target_tgid = -1;
__u32 seen;

SEC("tp_btf/sys_enter")
int first(__u64 *context)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->tgid == target_tgid)
		__sync_fetch_and_add(&seen, 1);
	return 0;
}

/* Loads. Cannot be attached, because no hook has this name. */
SEC("tracepoint/syscalls/sys_enter_of_no_such_call")
int second(void *context)
{
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
