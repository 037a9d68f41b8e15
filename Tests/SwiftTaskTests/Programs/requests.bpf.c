// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <swift_task_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx;
} __attribute__((preserve_access_index));
#define ARGUMENT_1(registers) ((registers)->di)
#define ARGUMENT_2(registers) ((registers)->si)
#define ARGUMENT_3(registers) ((registers)->dx)
#else
struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
} __attribute__((preserve_access_index));
#define ARGUMENT_1(registers) ((registers)->orig_x0)
#define ARGUMENT_2(registers) ((registers)->regs[1])
#define ARGUMENT_3(registers) ((registers)->regs[2])
#endif

struct request {
	__u64 id;
	__u64 calls;
	__u32 kind;
	__u32 flags;
};

SWIFT_TASK_STORAGE(requests, struct request, 256);
SWIFT_TASK_STORAGE(others, struct request, 64);
SWIFT_TASK_STORAGE(few, struct request, 2);

/* Not storage of Swift tasks. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct request);
} plain SEC(".maps");

#define CASES 64

/* The scopes found in the calls of each case: the expected request, none, or another one. */
struct seen {
	__u64 own;
	__u64 none;
	__u64 other;
};

struct seen seen[CASES];

/* The last request that each thread entered. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} entered SEC(".maps");

const volatile __u32 compares_threads;
const volatile __u64 magic;
__u64 expected_tgid;

static __always_inline void count(__u32 row, __u64 id, __u64 expected)
{
	if (!id)
		__sync_fetch_and_add(&seen[row].none, 1);
	else if (id == expected)
		__sync_fetch_and_add(&seen[row].own, 1);
	else
		__sync_fetch_and_add(&seen[row].other, 1);
}

/* A system call that takes no argument, with the expected id, the case and a number in unused ones. */
SEC("tp_btf/sys_enter")
int BPF_PROG(compare, struct pt_regs *registers, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct request *request;
	__u64 said, *id;
	__u32 row;

	if (number != __NR_getppid || (expected_tgid && task->tgid != expected_tgid))
		return 0;
	said = ARGUMENT_3(registers);
	row = ARGUMENT_2(registers) & (CASES - 1);
	if (compares_threads) {
		id = bpf_task_storage_get(&entered, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (id && said == magic + 1)
			*id = ARGUMENT_1(registers);
		else if (said == magic)
			count(row, id ? *id : 0, ARGUMENT_1(registers));
		return 0;
	}
	if (said != magic)
		return 0;
	request = swift_task_storage_get(requests);
	if (request)
		__sync_fetch_and_add(&request->calls, 1);
	count(row, request ? request->id : 0, ARGUMENT_1(registers));
	return 0;
}

/* Returns the calling thread's values in the two other storages. */
__u64 found_in_others;
__u64 found_in_few;
__u64 found_in_requests;

SEC("tp_btf/sys_enter")
int BPF_PROG(look, struct pt_regs *registers, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct request *request;

	if (number != __NR_getppid || (expected_tgid && task->tgid != expected_tgid) ||
	    ARGUMENT_3(registers) != magic + 2)
		return 0;
	request = swift_task_storage_get(others);
	found_in_others = request ? request->id : 0;
	request = swift_task_storage_get(few);
	found_in_few = request ? request->id : 0;
	request = swift_task_storage_get(requests);
	found_in_requests = request ? request->id : 0;
	return 0;
}

__u64 token;
__u64 found_by_token;

/* Stores the token of the calling thread's scope, or finds the value of the stored one. */
SEC("tp_btf/sys_enter")
int BPF_PROG(use_token, struct pt_regs *registers, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct request *request;

	if (number != __NR_getppid || (expected_tgid && task->tgid != expected_tgid))
		return 0;
	if (ARGUMENT_3(registers) == magic + 3)
		token = swift_task_storage_token(requests);
	if (ARGUMENT_3(registers) != magic + 4)
		return 0;
	request = swift_task_storage_find(requests, task, token);
	found_by_token = request ? request->id : 0;
	return 0;
}

/* Replies as requests_control does, but does not register processes. */
SEC("raw_tp")
int refusing_control(struct bpf_raw_tracepoint_args *arguments)
{
	__u32 first = 0;

	if (!bpf_map_lookup_elem(&requests, &first))
		return 0;
	return arguments->args[0] < __SWIFT_TASK_REGISTER;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
