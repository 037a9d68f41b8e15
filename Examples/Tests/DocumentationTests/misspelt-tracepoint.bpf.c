// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* The tracepoint is sys_enter. */
SEC("tp_btf/sys_entre")
int BPF_PROG(count_call, struct pt_regs *registers, long number)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
