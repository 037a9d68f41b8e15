// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("?tp_btf/sys_entr")
int by_type(void *context)
{
	return 0;
}

SEC("?tracepoint/syscalls/sys_entr_getppid")
int by_name(void *context)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
