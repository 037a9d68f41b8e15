// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct visit {
	__u64 calls;
	__u32 request_id;
	__u32 last_request_id;
};

TASK_STORAGE(visits, struct visit);

/* Does not test the result of task_storage_get(). */
SEC("tp_btf/sys_enter")
int BPF_PROG(count_call, struct pt_regs *registers, long number)
{
	struct visit *visit;

	visit = task_storage_get(visits, bpf_get_current_task_btf());
	visit->calls++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
