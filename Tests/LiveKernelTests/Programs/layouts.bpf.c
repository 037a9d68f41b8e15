// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Value types of every kind. This object is read and never loaded. */

#define STORAGE(name, value_type)						\
	struct {								\
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);			\
		__uint(map_flags, BPF_F_NO_PREALLOC);				\
		__type(key, int);						\
		__type(value, value_type);					\
	} name SEC(".maps")

enum color { RED, GREEN };
enum balance { DEBT = -1, CREDIT = 1 };
enum mask { LOW = 1, HIGH = 0x8000000000000000ULL };
enum depth { DEEP = -0x7000000000000000LL };

typedef const volatile __u16 port;

struct scalars {
	__s8 s8;
	__u8 u8;
	char letter;
	bool flag;
	port port;
	__s32 s32;
	enum color color;
	enum balance balance;
	enum mask mask;
	enum depth depth;
	float single;
	double twice;
	long number;
};

struct point {
	__s16 x;
	__s16 y;
};

struct nested {
	struct point corner;
	struct point line[2];
	__u8 grid[2][3];
	struct {
		__u32 inner;
		union {
			__u64 whole;
			__u32 halves[2];
		};
	};
	__u64 tail[];
};

typedef struct {
	__u64 only;
} nameless_type;

struct refused {
	struct bpf_spin_lock lock;
	__u32 low : 3;
	__u32 high : 7;
	struct bpf_timer timer;
	struct point *pointer;
	struct point __attribute__((btf_type_tag("uptr"))) *page;
	struct point __attribute__((btf_type_tag("kptr"))) *owned;
	__int128 wide;
	int (*call)(int);
};

STORAGE(scalars, struct scalars);
STORAGE(nested, struct nested);
STORAGE(plain, __u32);
STORAGE(nameless, nameless_type);
STORAGE(refused, struct refused);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8);
} untyped SEC(".maps");
