// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;

SEC("syscall")
int kernel_version(void *context)
{
	return LINUX_KERNEL_VERSION;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
