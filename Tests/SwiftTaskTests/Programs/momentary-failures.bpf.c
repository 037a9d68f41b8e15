// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <swift_task_storage.bpf.h>
#include <bpf/bpf_tracing.h>

struct request {
	__u64 id;
	__u64 calls;
	__u32 kind;
	__u32 flags;
};

#define late_control __attribute__((always_inline)) control_with_memory
SWIFT_TASK_STORAGE(late, struct request, 64);
#undef late_control

/* The number of next registrations that fail, as if the kernel had no memory. */
__u32 failures;
/* The number of next scopes that are not found, as if a page could not be read. */
__u32 misses;

SEC("raw_tp")
int late_control(struct bpf_raw_tracepoint_args *arguments)
{
	if (arguments->args[0] == __SWIFT_TASK_REGISTER && failures) {
		failures--;
		return 0;
	}
	if (arguments->args[0] == __SWIFT_TASK_CHECK && arguments->args[1] && misses) {
		misses--;
		return 1;
	}
	return control_with_memory(arguments);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
