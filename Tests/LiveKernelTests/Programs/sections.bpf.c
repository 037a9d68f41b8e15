// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* .bss and .rodata have static variables only: libbpf creates maps that cannot be mapped. */
static __u64 runs;
static const volatile __u32 step = 1;

/* .data has both. */
__u64 total = 40;
static volatile __u64 twice = 1;

/* The kernel does not map sections with its own state. */
struct bpf_spin_lock hidden_lock SEC(".data.hidden") __attribute__((visibility("hidden")));
__u64 guarded SEC(".data.hidden") = 5;

static struct bpf_spin_lock static_lock SEC(".data.static");
__u64 counted SEC(".data.static") = 6;

struct node {
	struct bpf_spin_lock lock;
	__u64 number;
};
struct node nested SEC(".data.nested");

SEC("syscall")
int add_total(void *context)
{
	runs++;
	twice += 2;
	bpf_spin_lock(&hidden_lock);
	guarded += step;
	bpf_spin_unlock(&hidden_lock);
	bpf_spin_lock(&static_lock);
	counted += step;
	bpf_spin_unlock(&static_lock);
	nested.number += step;
	total += guarded + counted + nested.number + runs;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
