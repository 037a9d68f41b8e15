// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

struct tool_request {
	__u64 id;
	__u32 added;
	__u64 calls;
	__u32 priority;
	char route[12];
};

TASK_STORAGE(tool_requests, struct tool_request);

struct span {
	__u32 start;
	__u32 end;
};

struct timed {
	struct span span;
};

TASK_STORAGE(tool_requests_by_time, struct timed);

const volatile __s32 target_tgid = -1;

SEC("tp_btf/sys_enter")
int BPF_PROG(count, struct pt_regs *registers, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tool_request *request;

	if (task->tgid != target_tgid || number != __NR_getppid)
		return 0;
	request = task_storage_get(tool_requests, task);
	if (request)
		request->calls++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
