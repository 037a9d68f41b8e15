/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Programs of which variants are compiled. The kernel's tags of their programs are the same. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef HOOK
#define HOOK "tp_btf/sys_enter"
#endif
#ifndef FIRST_VARIABLE
#define FIRST_VARIABLE calls
#define SECOND_VARIABLE bytes
#endif
#ifndef COUNT
#define COUNT __u64
#endif
#ifndef FIRST_MAP
#define FIRST_MAP left
#define SECOND_MAP right
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, COUNT);
} left SEC(".maps"), right SEC(".maps");

#ifdef COUNTED
/* In this order, independently of the order of use. */
__u64 FIRST_VARIABLE = 0, SECOND_VARIABLE = 0;
#else
#define COUNTED FIRST_VARIABLE
__u64 FIRST_VARIABLE, SECOND_VARIABLE;
#endif
const volatile __s32 target_tgid;

static __always_inline void add(void *map, __u64 amount)
{
	__u32 key = 0;
	COUNT *value = bpf_map_lookup_elem(map, &key);

	if (value)
		*value += amount;
}

#define COUNT_CALLS							\
	SEC(HOOK) int count_calls(void *context)			\
	{								\
		if (bpf_get_current_pid_tgid() >> 32 != (__u32)target_tgid) \
			return 0;					\
		COUNTED += 1;						\
		add(&FIRST_MAP, 1);					\
		add(&SECOND_MAP, 2);					\
		return 0;						\
	}

#define COUNT_BYTES							\
	SEC(HOOK) int count_bytes(void *context)			\
	{								\
		if (bpf_get_current_pid_tgid() >> 32 != (__u32)target_tgid) \
			return 0;					\
		SECOND_VARIABLE += 1000;				\
		return 0;						\
	}

/* clang orders variables by their first use. */
#ifdef BYTES_FIRST
COUNT_BYTES
COUNT_CALLS
#else
COUNT_CALLS
COUNT_BYTES
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";
