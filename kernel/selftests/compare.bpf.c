// SPDX-License-Identifier: GPL-2.0
/* Gets and reads the value of the running task, in each kind of map. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "compare.h"

char _license[] SEC("license") = "GPL";

#define __uptr __attribute__((btf_type_tag("uptr")))

struct user_page {
	struct compare_data __uptr *data;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct compare_data);
} ordinary SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_MMAPABLE);
	__type(key, int);
	__type(value, struct compare_data);
} mapped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct user_page);
} user_page SEC(".maps");

int target;
int kind;
__u64 nanoseconds, rounds, seen;

static int round_of_nothing(__u64 i, void *ctx)
{
	rounds++;
	return 0;
}

static int round_of_ordinary(__u64 i, void *ctx)
{
	struct compare_data *data = bpf_task_storage_get(&ordinary, bpf_get_current_task_btf(), 0, 0);

	rounds++;
	if (data)
		seen += data->words[0];
	return 0;
}

static int round_of_mapped(__u64 i, void *ctx)
{
	struct compare_data *data = bpf_task_storage_get(&mapped, bpf_get_current_task_btf(), 0, 0);

	rounds++;
	if (data)
		seen += data->words[0];
	return 0;
}

static int round_of_user_page(__u64 i, void *ctx)
{
	struct user_page *page = bpf_task_storage_get(&user_page, bpf_get_current_task_btf(), 0, 0);

	rounds++;
	if (page && page->data)
		seen += page->data->words[0];
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(measure, struct pt_regs *regs, long id)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 start;

	if (task->pid != target)
		return 0;
	start = bpf_ktime_get_ns();
	switch (kind) {
	case COMPARE_NOTHING:
		bpf_loop(COMPARE_ROUNDS, round_of_nothing, NULL, 0);
		break;
	case COMPARE_ORDINARY:
		bpf_loop(COMPARE_ROUNDS, round_of_ordinary, NULL, 0);
		break;
	case COMPARE_MAPPED:
		bpf_loop(COMPARE_ROUNDS, round_of_mapped, NULL, 0);
		break;
	case COMPARE_USER_PAGE:
		bpf_loop(COMPARE_ROUNDS, round_of_user_page, NULL, 0);
		break;
	}
	nanoseconds = bpf_ktime_get_ns() - start;
	target = 0;
	return 0;
}
