// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("syscall")
int nothing(void *context)
{
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
