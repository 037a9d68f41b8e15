// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

const volatile char mark[] = SHARED_MARK;

SEC("syscall")
int read_mark(void *context)
{
	return mark[0];
}

char _license[] SEC("license") = "Dual BSD/GPL";
