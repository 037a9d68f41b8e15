// SPDX-License-Identifier: GPL-2.0
/* Creates and deletes the values of mmapable.c's process. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"

char _license[] SEC("license") = "GPL";

struct value {
	__u64 counter, to_user;
};

struct large_value {
	__u8 bytes[3 * 4096];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_MMAPABLE);
	__type(key, int);
	__type(value, struct value);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_MMAPABLE);
	__type(key, int);
	__type(value, struct large_value);
} large SEC(".maps");

pid_t target;
__u64 failed;

static void create(struct task_struct *task)
{
	struct value *value;

	if (task->tgid != target)
		return;
	value = bpf_task_storage_get(&values, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (value)
		value->to_user = 42;
	else
		failed++;
}

/* Runs with the lock of a run queue held */
SEC("tp_btf/sched_switch")
int BPF_PROG(on_sched_switch, bool preempt, struct task_struct *prev)
{
	create(prev);
	return 0;
}

SEC("fentry.s/" SYS_PREFIX "sys_getpgid")
int BPF_PROG(on_sleepable)
{
	create(bpf_get_current_task_btf());
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(drop)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->tgid == target)
		bpf_task_storage_delete(&values, task);
	return 0;
}
