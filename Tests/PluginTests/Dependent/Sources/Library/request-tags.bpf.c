// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

/* The same size as in Swift, although this is not the host's compiler. */
_Static_assert(sizeof(struct shared) == 16, "shared.h means something else here");
_Static_assert(sizeof(long) == sizeof(__kernel_size_t), "<linux/types.h> is for a 32-bit host");

const volatile char mark[] = SHARED_MARK;

SEC("syscall")
int read_mark(void *context)
{
	return mark[0];
}

char _license[] SEC("license") = "Dual BSD/GPL";
