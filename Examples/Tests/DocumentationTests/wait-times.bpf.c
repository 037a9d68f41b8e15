// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>
#include <bpf/bpf_tracing.h>
#include "wait_time.h"

TASK_STORAGE(wait_times, struct wait_time);

struct task_struct {
	int pid;
	int tgid;
} __attribute__((preserve_access_index));

const volatile __u32 only_process;

SEC("tp_btf/sched_wakeup")
int BPF_PROG(woken, struct task_struct *task)
{
	struct wait_time *wait;

	if (task->tgid != only_process)
		return 0;
	wait = task_storage_get(wait_times, task);
	if (wait)
		wait->reason = WAIT_CPU;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
