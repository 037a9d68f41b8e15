// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The verifier rejects it: the helper is for programs with a GPL-compatible license. */
SEC("tp_btf/sys_enter")
int no_licence(void *context)
{
	return !bpf_get_current_task_btf();
}
