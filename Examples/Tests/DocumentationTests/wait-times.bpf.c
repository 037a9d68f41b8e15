// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "wait_time.h"

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct wait_time);
} wait_times SEC(".maps");

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
	wait = bpf_task_storage_get(&wait_times, task, NULL, 0);
	if (wait)
		wait->reason = WAIT_CPU;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
