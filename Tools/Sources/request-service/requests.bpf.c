// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>

enum request_state { REQUEST_IDLE, REQUEST_HANDLING };

struct request {
	__u64 id;
	__u64 calls;
	enum request_state state;
	char route[12];
};

TASK_STORAGE(requests, struct request);

/* Counts the system calls of each thread that has a value, in processes of all users. */
SEC("tp_btf/sys_enter")
int BPF_PROG(count_calls, struct pt_regs *registers, long number)
{
	struct request *request;

	request = task_storage_get(requests, bpf_get_current_task_btf());
	if (request)
		request->calls++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
