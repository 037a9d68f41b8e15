// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <linux/bpf.h>
#include <mmap_storage.bpf.h>

/* Values of 8, 64 and 512 fields. This object is not loaded. */
struct eight {
	__u64 a, b;
	__u32 c, d;
	__u16 e, f, g, h;
};

struct sixty_four {
	struct eight a, b, c, d, e, f, g, h;
};

struct five_hundred_twelve {
	struct sixty_four a, b, c, d, e, f, g, h;
};

TASK_STORAGE_DIRECT(small, struct eight);
TASK_STORAGE_DIRECT(medium, struct sixty_four);
TASK_STORAGE_DIRECT(large, struct five_hundred_twelve);

char LICENSE[] SEC("license") = "Dual BSD/GPL";
