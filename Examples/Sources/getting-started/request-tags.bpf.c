// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct request_tag {
	__u64 request_id;
	__u32 priority;
	__u32 calls;
};

TASK_STORAGE(request_tags, struct request_tag);

const volatile __u32 calls_limit = 1000;	/* constant after loading */
__u32 lowest_priority;				/* may change at any time */

/* Counts the calls of getppid() in requests of a high enough priority. */
SEC("tp_btf/sys_enter")
int BPF_PROG(count_call, struct pt_regs *registers, long number)
{
	struct request_tag *tag;

	if (number != __NR_getppid)
		return 0;
	tag = task_storage_get(request_tags, bpf_get_current_task_btf());
	if (tag && tag->priority >= lowest_priority && tag->calls < calls_limit)
		tag->calls++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
