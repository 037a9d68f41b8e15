// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <swift_task_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct request {
	__u64 id;
	__u64 writes;
};

SWIFT_TASK_STORAGE(requests, struct request, 4096);

/* Counts the calls of write() of each request. */
SEC("tp_btf/sys_enter")
int BPF_PROG(count_write, struct pt_regs *registers, long number)
{
	struct request *request;

	if (number != __NR_write)
		return 0;
	request = swift_task_storage_get(requests);
	if (request)
		__sync_fetch_and_add(&request->writes, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
