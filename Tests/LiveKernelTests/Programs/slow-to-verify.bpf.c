// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The verifier follows each turn of the loop. */
SEC("syscall")
int sum(void *context)
{
	__u64 sum = 0;

	for (int i = 0; i < 7000; i++) {
		sum += bpf_ktime_get_ns();
		if (sum == 7)
			break;
	}
	return sum;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
