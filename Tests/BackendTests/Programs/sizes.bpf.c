// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAP(size)							\
	struct bytes_##size {						\
		__u8 bytes[size];					\
	};								\
									\
	struct {							\
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);		\
		__uint(map_flags, BPF_F_NO_PREALLOC);			\
		__type(key, int);					\
		__type(value, struct bytes_##size);			\
	} sized_##size SEC(".maps")

MAP(1);
MAP(2);
MAP(7);
MAP(24);
MAP(1008);
MAP(1015);
MAP(1016);
MAP(2023);
MAP(8001);

char LICENSE[] SEC("license") = "Dual BSD/GPL";
