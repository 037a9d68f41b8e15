// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The verifier writes a line for each instruction, and rejects the last one. */
SEC("syscall")
int refused_late(void *context)
{
	asm volatile("r0 = 0; .rept 4000; r0 += 1; .endr" ::: "r0");
	return *(volatile int *)0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
