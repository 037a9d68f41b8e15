// SPDX-License-Identifier: GPL-2.0
/* Tests of BPF_F_MMAPABLE that are not part of the series: contexts of programs, exec, memory cgroups,
 * races, and rare flags of mmap().
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <test_progs.h>
#include "cap_helpers.h"
#include "cgroup_helpers.h"
#include "task_local_storage_helpers.h"
#include "mmapable.skel.h"

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define RW (PROT_READ | PROT_WRITE)
#define NOBODY 65534

struct value {
	__u64 counter, to_user;
};

static struct mmapable *skel;
static const struct bpf_program *prog;
static int fd, pidfd; /* the map, and this process */
static size_t page_size;
static const char zero[1 << 16]; /* at least a page */

static struct value *map_value(void)
{
	void *ptr = mmap(NULL, page_size, RW, MAP_SHARED, fd, 0);

	return ptr == MAP_FAILED ? NULL : ptr;
}

static int mmap_errno(void *addr, int prot, int flags)
{
	void *ptr = mmap(addr, page_size, prot, flags, fd, 0);

	return ptr == MAP_FAILED ? errno : munmap(ptr, page_size);
}

/* Attach the program of the subtest for a few system calls and a context switch */
static void run(void)
{
	struct bpf_link *link = bpf_program__attach(prog);

	ASSERT_OK_PTR(link, "attach");
	getpgid(0);
	/* One of these sleeps, independently of the number of CPUs and of the timer */
	usleep(1000);
	kern_sync_rcu();
	bpf_link__destroy(link);
}

static int wait_for(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* A program creates the value that the thread maps */
static void test_create(void)
{
	struct value *value;
	struct utsname uts;

	/* kmalloc_nolock() may deadlock under the lock of a run queue then */
	if (prog == skel->progs.on_sched_switch && !uname(&uts) &&
	    strstr(uts.version, "PREEMPT_RT")) {
		test__skip();
		return;
	}
	run();
	ASSERT_EQ(skel->bss->failed, 0, "failed");
	value = map_value();
	if (!ASSERT_OK_PTR(value, "mmap"))
		return;
	ASSERT_EQ(value->to_user, 42, "value of the program");
	ASSERT_OK(memcmp(value + 1, zero, page_size - sizeof(*value)), "rest of the page");
	munmap(value, page_size);
}

/* Let pages that are freed too early, on any CPU, become those of a pipe */
static void reuse_free_pages(void)
{
	static char content[1 << 20];
	cpu_set_t before, cpus;
	int i, fds[2];

	memset(content, 0x5a, sizeof(content));
	sched_getaffinity(0, sizeof(before), &before);
	for (i = 0; i < 40; i++) {
		kern_sync_rcu();
		usleep(10000);
		CPU_ZERO(&cpus);
		CPU_SET(i % libbpf_num_possible_cpus(), &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
		if (!ASSERT_OK(pipe2(fds, O_NONBLOCK), "pipe"))
			break;
		fcntl(fds[1], F_SETPIPE_SZ, sizeof(content));
		ASSERT_GT(write(fds[1], content, sizeof(content)), 0, "write");
		close(fds[0]);
		close(fds[1]);
	}
	sched_setaffinity(0, sizeof(before), &before);
}

/* A mapping keeps a value that a program deletes */
static void test_delete_by_program(void)
{
	struct value *old = map_value(), *new, copy;

	old->counter = 42;
	run();
	ASSERT_EQ(bpf_map_lookup_elem(fd, &pidfd, &copy), -ENOENT, "lookup");
	reuse_free_pages();
	ASSERT_EQ(old->counter, 42, "deleted value");
	new = map_value();
	ASSERT_TRUE(new && !memcmp(new, zero, page_size), "new value");
	munmap(old, page_size);
	munmap(new, page_size);
}

/* A copy of this program. It waits for a signal if its name is "pause". */
static bool copy_as_set_user_id(const char *path)
{
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to;
	ssize_t length;

	unlink(path);
	to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	do
		length = sendfile(to, from, NULL, 1 << 20);
	while (length > 0);
	if (fchmod(to, 04755))
		length = -1;
	close(from);
	close(to);
	return length == 0;
}

static int effective_user(pid_t pid)
{
	char path[64], line[128];
	int user = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "Uid: %*d %d", &user);
	if (file)
		fclose(file);
	return user;
}

/*
 * exec keeps the value. A process that shared the address space keeps the mapping,
 * and can write to the value of a set-user-ID program.
 */
static void test_exec(void)
{
	static const char path[] = "/tmp/mmapable-pause";
	static struct value *value;
	struct value copy = {};
	int child, i;
	pid_t pid;

	if (!ASSERT_TRUE(copy_as_set_user_id(path), "set-user-ID program"))
		return;
	value = NULL;
	pid = vfork();
	if (!pid) {
		value = map_value();
		if (!syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY))
			execl(path, "pause", NULL);
		_exit(1);
	}
	if (!ASSERT_GT(pid, 0, "vfork"))
		return;
	child = sys_pidfd_open(pid, 0);
	/* exec lets the parent of a vfork() go on before it changes the user */
	for (i = 0; i < 10000 && effective_user(pid) == NOBODY; i++)
		usleep(1000);
	ASSERT_EQ(effective_user(pid), 0, "effective user");
	if (ASSERT_OK_PTR(value, "mmap")) {
		value->counter = 2;
		ASSERT_OK(bpf_map_lookup_elem(fd, &child, &copy), "value after exec");
		ASSERT_EQ(copy.counter, 2, "write from the old address space");
		munmap(value, page_size);
	}
	kill(pid, SIGKILL);
	ASSERT_EQ(wait_for(pid), SIGKILL, "exec");
	close(child);
	unlink(path);
}

/* Maps and deletes values until mmap() fails. Returns whether the error was ENOMEM. */
static bool map_and_delete(void)
{
	int own = sys_pidfd_open(getpid(), 0), i;

	for (i = 0; i < 4096 && map_value(); i++)
		if (bpf_map_delete_elem(fd, &own))
			return false;
	return i < 4096 && errno == ENOMEM;
}

/* mmap() charges its caller, and fails instead of invoking the OOM killer */
static void test_charge(void)
{
	int i, status = -1;
	char limit[24];
	pid_t pid;

	if (!ASSERT_OK(setup_cgroup_environment(), "cgroups"))
		return;
	close(create_and_get_cgroup("/user"));
	/* At some limits, the VMA or its page table does not fit: the OOM killer is invoked then */
	for (i = 0; i < 3 && status; i++) {
		snprintf(limit, sizeof(limit), "%zu", (2048 + i) * page_size);
		ASSERT_OK(write_cgroup_file("/user", "memory.max", limit), "memory.max");
		pid = fork();
		if (!pid)
			_exit(join_parent_cgroup("/user") || !map_and_delete());
		status = wait_for(pid);
	}
	ASSERT_OK(status, "ENOMEM at the limit of the user");
	cleanup_cgroup_environment();
}

static void map_beside(bool updates)
{
	struct value new = { .counter = 1 }, *value;
	bool right = true;
	pid_t pid = fork();
	int i;

	if (!ASSERT_GE(pid, 0, "fork"))
		return;
	while (!pid) {
		bpf_map_delete_elem(fd, &pidfd);
		if (updates)
			bpf_map_update_elem(fd, &pidfd, &new, BPF_ANY);
	}
	for (i = 0; i < 10000 && right; i++) {
		value = map_value();
		right = value && value->counter <= 1 &&
			!memcmp(&value->to_user, zero, page_size - 8);
		ASSERT_TRUE(right, value ? "value" : strerror(errno));
		munmap(value, page_size);
	}
	kill(pid, SIGKILL);
	wait_for(pid);
}

/* mmap() returns the value while other threads create and delete it */
static void test_race(void)
{
	map_beside(true);
	map_beside(false);
}

static int create_map(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC | BPF_F_MMAPABLE,
		    .btf_fd = bpf_object__btf_fd(skel->obj),
		    .btf_key_type_id = bpf_map__btf_key_type_id(skel->maps.values),
		    .btf_value_type_id = bpf_map__btf_value_type_id(skel->maps.values));

	return bpf_map_create(BPF_MAP_TYPE_TASK_STORAGE, "frozen", sizeof(int),
			      sizeof(struct value), 0, &opts);
}

/* mmap() through a read-only descriptor does not prevent a freeze of the map */
static void test_freeze(void)
{
	LIBBPF_OPTS(bpf_get_fd_by_id_opts, opts, .open_flags = BPF_F_RDONLY);
	int writable[200], read_only[ARRAY_SIZE(writable)], *current, i;
	struct bpf_map_info info;
	pid_t readers[4];
	__u32 len;

	current = mmap(NULL, page_size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < ARRAY_SIZE(writable); i++) {
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		writable[i] = create_map();
		ASSERT_OK(bpf_map_get_info_by_fd(writable[i], &info, &len), "info");
		read_only[i] = bpf_map_get_fd_by_id_opts(info.id, &opts);
	}
	for (i = 0; i < ARRAY_SIZE(readers); i++) {
		readers[i] = fork();
		while (!readers[i])
			mmap(NULL, page_size, PROT_READ, MAP_SHARED,
			     read_only[__atomic_load_n(current, __ATOMIC_RELAXED)], 0);
	}
	for (i = 0; i < ARRAY_SIZE(writable); i++) {
		__atomic_store_n(current, i, __ATOMIC_RELAXED);
		usleep(3000);
		ASSERT_OK(bpf_map_freeze(writable[i]), "freeze");
		close(writable[i]);
		close(read_only[i]);
	}
	for (i = 0; i < ARRAY_SIZE(readers); i++)
		if (ASSERT_GT(readers[i], 0, "fork")) {
			kill(readers[i], SIGKILL);
			wait_for(readers[i]);
		}
	munmap(current, page_size);
}

/* fdinfo reports the page of a value */
static void test_mem_usage(void)
{
	char path[64], text[1024] = {}, *memlock;
	long usage[2] = {};
	int i, file;

	munmap(map_value(), page_size);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	for (i = 0; i < 2; i++) {
		file = open(path, O_RDONLY);
		ASSERT_GT(read(file, text, sizeof(text) - 1), 0, "read");
		close(file);
		memlock = strstr(text, "memlock:");
		if (ASSERT_OK_PTR(memlock, "memlock"))
			sscanf(memlock, "memlock: %ld", &usage[i]);
		bpf_map_delete_elem(fd, &pidfd);
	}
	ASSERT_EQ(usage[0] - usage[1], page_size, "value");
	ASSERT_GT(usage[1], 0, "map without values");
}

static void test_mmap_flags(void)
{
	char *value = (char *)map_value();

	ASSERT_EQ(mmap_errno(NULL, RW, MAP_SHARED | MAP_LOCKED), 0, "MAP_LOCKED");
	ASSERT_EQ(mmap_errno(NULL, PROT_READ, MAP_PRIVATE), EINVAL, "MAP_PRIVATE to read");
	ASSERT_EQ(mmap_errno(NULL, RW, MAP_SHARED_VALIDATE | MAP_SYNC), EOPNOTSUPP, "MAP_SYNC");
	ASSERT_EQ(mmap_errno(NULL, RW, MAP_SHARED | MAP_HUGETLB), EINVAL, "MAP_HUGETLB");
	ASSERT_EQ(mmap_errno(NULL, RW, MAP_SHARED | MAP_GROWSDOWN), EINVAL, "MAP_GROWSDOWN");
	ASSERT_EQ(mmap_errno(value + 1, RW, MAP_SHARED | MAP_FIXED), EINVAL, "MAP_FIXED");
	ASSERT_EQ(mmap_errno(value, RW, MAP_SHARED | MAP_FIXED_NOREPLACE), EEXIST,
		  "MAP_FIXED_NOREPLACE");
	ASSERT_EQ(madvise(value, page_size, MADV_DOFORK) ? errno : 0, EINVAL, "MADV_DOFORK");
	munmap(value, page_size);
}

/* The mapping of a value of several pages cannot be split */
static void test_split(void)
{
	int large = bpf_map__fd(skel->maps.large);
	size_t size = bpf_map__value_size(skel->maps.large);
	char *value = mmap(NULL, size, RW, MAP_SHARED, large, 0);
	void *hole = mmap(NULL, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *part = value + page_size;

	if (!ASSERT_NEQ(value, MAP_FAILED, "mmap"))
		return;
	/* On a kernel with larger pages the value has one page */
	if (size > page_size) {
		ASSERT_EQ(munmap(part, page_size) ? errno : 0, EINVAL, "munmap");
		ASSERT_EQ(mprotect(part, page_size, PROT_READ) ? errno : 0, EINVAL, "mprotect");
		ASSERT_EQ(mremap(part, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
				 hole) == MAP_FAILED ? errno : 0, EINVAL, "mremap");
	}
	ASSERT_OK(munmap(value, size), "munmap of all");
}

/* mmap() with limits and personalities of the process */
static void test_mmap_limits(void)
{
	const struct rlimit none = {};
	pid_t pid = fork();

	if (!pid) {
		setrlimit(RLIMIT_AS, &none);
		_exit(mmap_errno(NULL, RW, MAP_SHARED));
	}
	ASSERT_EQ(wait_for(pid) >> 8, ENOMEM, "RLIMIT_AS");
	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_MEMLOCK, &none);
		cap_disable_effective(1ULL << CAP_IPC_LOCK, NULL);
		_exit(mmap_errno(NULL, RW, MAP_SHARED | MAP_LOCKED));
	}
	ASSERT_EQ(wait_for(pid) >> 8, EPERM, "MAP_LOCKED");
	pid = fork();
	if (!pid) {
		personality(READ_IMPLIES_EXEC);
		_exit(mmap_errno(NULL, PROT_READ, MAP_SHARED));
	}
	/* The file system of descriptors of maps has no executables */
	ASSERT_EQ(wait_for(pid), 0, "READ_IMPLIES_EXEC");
}

/* MADV_DONTNEED takes the page from the mapping, and leaves the value */
static void test_dontneed(void)
{
	struct value *value, *again;
	pid_t pid = fork();

	if (!pid) {
		value = map_value();
		value->counter = 42;
		if (madvise(value, page_size, MADV_DONTNEED))
			_exit(1);
		again = map_value();
		if (again->counter != 42)
			_exit(2);
		_exit(*(volatile __u64 *)&value->counter == 42);
	}
	ASSERT_EQ(WTERMSIG(wait_for(pid)), SIGBUS, "access");
}

static const struct {
	const char *name, *prog;
	void (*test)(void);
} subtests[] = {
	{ "create_with_rq_lock", "on_sched_switch", test_create },
	{ "create_sleepable", "on_sleepable", test_create },
	{ "delete_by_program", "drop", test_delete_by_program },
	{ "exec", "", test_exec },
	{ "charge", "", test_charge },
	{ "race", "", test_race },
	{ "freeze", "", test_freeze },
	{ "mem_usage", "", test_mem_usage },
	{ "mmap_flags", "", test_mmap_flags },
	{ "split", "", test_split },
	{ "mmap_limits", "", test_mmap_limits },
	{ "dontneed", "", test_dontneed },
};

void test_mmapable(void)
{
	int i;

	page_size = sysconf(_SC_PAGESIZE);
	pidfd = sys_pidfd_open(getpid(), 0);
	for (i = 0; i < ARRAY_SIZE(subtests); i++) {
		if (!test__start_subtest(subtests[i].name))
			continue;
		skel = mmapable__open_and_load();
		if (!ASSERT_OK_PTR(skel, "load"))
			break;
		skel->bss->target = getpid();
		prog = bpf_object__find_program_by_name(skel->obj, subtests[i].prog);
		fd = bpf_map__fd(skel->maps.values);
		subtests[i].test();
		mmapable__destroy(skel);
	}
	close(pidfd);
}
