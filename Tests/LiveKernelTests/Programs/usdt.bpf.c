// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/usdt.bpf.h>

SEC("?usdt//proc/self/status:provider:name")
int in_text(struct pt_regs *registers)
{
	return 0;
}

SEC("?usdt//proc/self/exe:provider:name")
int missing(struct pt_regs *registers)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
