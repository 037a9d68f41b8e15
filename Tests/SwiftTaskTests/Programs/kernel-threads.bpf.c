// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <swift_task_storage.bpf.h>
#include <bpf/bpf_tracing.h>

#define PF_IO_WORKER 0x10

struct task_struct {
	int tgid;
	unsigned int flags;
} __attribute__((preserve_access_index));

struct value {
	__u64 id;
};

SWIFT_TASK_STORAGE(values, struct value, 64);

__u64 expected_tgid;
/* The number of times that an io worker was switched out: in all, and with a value. */
__u64 switches;
__u64 found;

SEC("tp_btf/sched_switch")
int BPF_PROG(look, _Bool preempted, struct task_struct *previous)
{
	if (previous->tgid != expected_tgid || !(previous->flags & PF_IO_WORKER))
		return 0;
	if (swift_task_storage_get(values))
		__sync_fetch_and_add(&found, 1);
	__sync_fetch_and_add(&switches, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
