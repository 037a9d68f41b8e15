// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <swift_task_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

struct request {
	__u64 id;
	__u64 count;
};

SWIFT_TASK_STORAGE(requests, struct request, 4096);

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct request);
} threads SEC(".maps");

__u64 found;

static long get_swift_task(__u32 index, void *context)
{
	struct request *request = swift_task_storage_get(requests);

	if (request)
		found += request->id;
	return 0;
}

static long get_thread(__u32 index, void *context)
{
	struct request *request;

	request = bpf_task_storage_get(&threads, bpf_get_current_task_btf(), 0,
				       BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (request)
		found += request->id;
	return 0;
}

static long get_nothing(__u32 index, void *context)
{
	found += index;
	return 0;
}

SEC("raw_tp")
int measure_swift_task(struct bpf_raw_tracepoint_args *arguments)
{
	bpf_loop(arguments->args[0], get_swift_task, 0, 0);
	return 0;
}

SEC("raw_tp")
int measure_thread(struct bpf_raw_tracepoint_args *arguments)
{
	bpf_loop(arguments->args[0], get_thread, 0, 0);
	return 0;
}

SEC("raw_tp")
int measure_nothing(struct bpf_raw_tracepoint_args *arguments)
{
	bpf_loop(arguments->args[0], get_nothing, 0, 0);
	return 0;
}

__u64 expected_tgid;
__u64 syscalls;

/* Not loaded by default, because each system call of the machine runs it. */
SEC("tp_btf/sys_enter")
int BPF_PROG(count_syscalls, void *registers, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->tgid == expected_tgid)
		__sync_fetch_and_add(&syscalls, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
