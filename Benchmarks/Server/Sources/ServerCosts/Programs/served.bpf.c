// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <swift_task_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

struct request {
	__u64 calls;
};

SWIFT_TASK_STORAGE(requests, struct request, 4096);

__u64 expected_tgid;

/* Counts the system calls of each request. */
SEC("tp_btf/sys_enter")
int BPF_PROG(count_call, void *registers, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct request *request;

	if (task->tgid != expected_tgid)
		return 0;
	request = swift_task_storage_get(requests);
	if (request)
		__sync_fetch_and_add(&request->calls, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
