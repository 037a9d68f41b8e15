// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The number of next registrations that fail, as if the kernel had no memory. */
__u32 failures;

/* Replaces processes_control. */
SEC("raw_tp")
int busy_control(struct bpf_raw_tracepoint_args *arguments)
{
	if (failures) {
		failures--;
		return 0;
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
