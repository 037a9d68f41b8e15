// SPDX-License-Identifier: GPL-2.0
/* The first process of a small 32-bit machine. It maps its value, lets a child update it with
 * bpf_map_update_elem(), and counts reads of a field of eight bytes that show a half of each of two
 * updates, which may happen, and words of neither update, which may not.
 *
 * A read is one instruction. Writes of one instruction, by another child, show that it does not tear.
 */
#include <linux/bpf.h>
#include <linux/btf.h>

#define READS 200000000
#define FIRST 0x1111111111111111ULL
#define SECOND 0x2222222222222222ULL

struct value {
	__u64 field __attribute__((aligned(8)));
};

static const struct {
	struct btf_header header;
	struct { struct btf_type type; __u32 encoding; } key, value;
	char strings[16];
} btf = {
	.header = {
		.magic = BTF_MAGIC, .version = BTF_VERSION, .hdr_len = sizeof(struct btf_header),
		.type_len = 32, .str_off = 32, .str_len = 16,
	},
	.key = { { .name_off = 1, .info = BTF_KIND_INT << 24, .size = 4 }, BTF_INT_SIGNED << 24 | 32 },
	.value = { { .name_off = 5, .info = BTF_KIND_INT << 24, .size = 8 }, 64 },
	.strings = "\0int\0long long",
};

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(__NR_bpf, command, attr, sizeof(*attr));
}

static __u64 load(const volatile __u64 *from)
{
	__u64 value;

	asm volatile("movq %1, %%xmm0; movq %%xmm0, %0" : "=m"(value) : "m"(*from) : "xmm0");
	return value;
}

static void store(volatile __u64 *to, __u64 value)
{
	asm volatile("movq %1, %%xmm0; movq %%xmm0, %0" : "=m"(*to) : "m"(value) : "xmm0");
}

static bool is_word(__u32 word)
{
	return word == (__u32)FIRST || word == (__u32)SECOND;
}

struct counts {
	unsigned int first, second, torn, other;
};

static struct counts count(const volatile __u64 *field, const char *writer)
{
	struct counts counts = {};
	__u64 value;
	int i;

	for (i = 0; i < READS; i++) {
		value = load(field);
		if (value == FIRST)
			counts.first++;
		else if (value == SECOND)
			counts.second++;
		else if (is_word(value) && is_word(value >> 32))
			counts.torn++;
		else
			counts.other++;
	}
	printf("%s: %u and %u reads of the two values, %u of a half of each, %u of other words\n",
	       writer, counts.first, counts.second, counts.torn, counts.other);
	return counts;
}

static int fail(const char *what)
{
	printf("%s: errno %d\n", what, errno);
	return 1;
}

static int create_map(void)
{
	union bpf_attr attr = { .btf = (unsigned long)&btf, .btf_size = sizeof(btf) };
	int btf_fd = bpf(BPF_BTF_LOAD, &attr);

	attr = (union bpf_attr){
		.map_type = BPF_MAP_TYPE_TASK_STORAGE, .key_size = 4, .value_size = 8,
		.map_flags = BPF_F_NO_PREALLOC | BPF_F_MMAPABLE, .btf_fd = btf_fd,
		.btf_key_type_id = 1, .btf_value_type_id = 2,
	};
	return btf_fd < 0 ? -1 : bpf(BPF_MAP_CREATE, &attr);
}

static void update(int map, int pidfd, __u64 value)
{
	union bpf_attr attr = {
		.map_fd = map, .key = (unsigned long)&pidfd, .value = (unsigned long)&value,
	};

	if (bpf(BPF_MAP_UPDATE_ELEM, &attr))
		_exit(fail("update"));
}

static int run(void)
{
	const int prot = PROT_READ | PROT_WRITE;
	struct counts stores, updates;
	volatile __u64 *plain, *value;
	pid_t self, child;
	int map, pidfd;

	map = create_map();
	/* A call in the arguments of syscall() of nolibc changes its registers */
	self = getpid();
	pidfd = syscall(__NR_pidfd_open, self, 0);
	value = mmap(NULL, sizeof(*value), prot, MAP_SHARED, map, 0);
	plain = mmap(NULL, sizeof(*plain), prot, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (map < 0 || pidfd < 0 || value == MAP_FAILED || plain == MAP_FAILED)
		return fail("map");

	store(plain, FIRST);
	child = fork();
	while (!child) {
		store(plain, SECOND);
		store(plain, FIRST);
	}
	stores = count(plain, "stores");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);

	store(value, FIRST);
	child = fork();
	while (!child) {
		update(map, pidfd, SECOND);
		update(map, pidfd, FIRST);
	}
	updates = count(value, "updates");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);

	return stores.torn || stores.other || !updates.first || !updates.second || updates.other;
}

int main(void)
{
	int console;

	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	console = open("/dev/console", O_RDWR);
	dup2(console, STDIN_FILENO);
	dup2(console, STDOUT_FILENO);
	dup2(console, STDERR_FILENO);
	printf("status %d\n", run());
	fflush(stdout);
	return reboot(LINUX_REBOOT_CMD_RESTART);
}
