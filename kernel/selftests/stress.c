// SPDX-License-Identifier: GPL-2.0
/* Stress test of mmapable task storage. Threads map, write, unmap, exit, fork and exec. Other threads
 * delete, update and look up the values of the same tasks. Programs create and delete values in system
 * calls, in the scheduler and in the page allocator. Meanwhile maps are closed and replaced, and memory
 * is short.
 *
 *   stress [SECONDS [SEED [faults]]]
 *
 * With "faults", a kernel that cannot make allocations fail is an error.
 *
 * A thread writes a stamp after the value in its page, where nothing else writes. A later mapping of
 * its own value has that stamp or zeroes. A mapping keeps the stamp until it is unmapped, also after
 * the value is deleted or the thread has exited. Anything else is a page with two owners. At the end,
 * the memory cgroup of the maps must have at most 256 KiB of kernel memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include "stress.h"
#include "stress.skel.h"

#define NR_WORKERS 4
#define NR_THREADS 4
#define NR_MAPPINGS 8
#define NR_TIDS 64
#define CGROUP "/sys/fs/cgroup/stress"
#define CGROUP_LIMIT "160M"
#define UPDATED 0x5700000000000000ULL

struct counters {
	uint64_t mapped, map_failed, unmapped, threads, forks, execs, updates, deletes, lookups,
		maps, orphans;
};

static struct shared {
	volatile int stop, wrong;
	volatile pid_t tids[NR_TIDS];
	uint64_t next_stamp;
	struct counters count;
} *shared;

static size_t page_size;
static int small_slots, large_slots;
static uint64_t seed = 1;

#define COUNT(name) __atomic_fetch_add(&shared->count.name, 1, __ATOMIC_RELAXED)

static void wrong(const char *format, ...)
{
	va_list arguments;
	char line[256];
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (write(STDOUT_FILENO, line, length) != length)
		abort();
	shared->wrong = 1;
	shared->stop = 1;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1dULL >> 16;
}

static pid_t own_tid(void)
{
	return syscall(SYS_gettid);
}

static int open_map(bool large, uint32_t slot)
{
	uint32_t id;

	if (bpf_map_lookup_elem(large ? large_slots : small_slots, &slot, &id))
		return -1;
	return bpf_map_get_fd_by_id(id);
}

struct mapping {
	uint64_t *words;
	uint64_t stamp;
	pid_t tid;
	bool large;
};

static size_t size_of(bool large)
{
	size_t size = large ? sizeof(struct stress_large) : sizeof(struct stress_small);

	return (size + page_size - 1) / page_size * page_size;
}

/* The places of the stamp: words after the value, up to the last one of the page. */
static size_t stamp_word(bool large, int i)
{
	size_t last = size_of(large) / 8 - 1;
	size_t first = large ? STRESS_LARGE_WORDS : STRESS_SMALL_WORDS;

	return i == 0 ? first : i == 1 ? (first + last) / 2 : last;
}

static void check(const struct mapping *mapping, const char *when)
{
	uint64_t word;
	int i;

	for (i = 0; i < 3; i++) {
		word = mapping->words[stamp_word(mapping->large, i)];
		if (word != mapping->stamp)
			wrong("%s: task %d: stamp is %#llx, should be %#llx\n", when, mapping->tid,
			      (unsigned long long)word, (unsigned long long)mapping->stamp);
	}
	for (i = 0; mapping->large && i < 2; i++) {
		word = mapping->words[1 + (i + 1) * STRESS_WORDS_APART];
		if (word && word != mapping->stamp && word != (UPDATED | mapping->tid))
			wrong("%s: task %d: word is %#llx\n", when, mapping->tid,
			      (unsigned long long)word);
	}
}

static bool map_one(struct mapping *mapping, uint64_t stamp, uint64_t *random)
{
	uint64_t r = next_random(random), word;
	bool large = r & 1;
	int fd, i, zeroes = 0;

	fd = open_map(large, (r >> 8) % STRESS_SLOTS);
	if (fd < 0)
		return false;
	mapping->words = mmap(NULL, size_of(large), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mapping->words == MAP_FAILED) {
		if (errno != ENOMEM)
			wrong("mmap: %s\n", strerror(errno));
		COUNT(map_failed);
		return false;
	}
	COUNT(mapped);
	mapping->stamp = stamp;
	mapping->tid = own_tid();
	mapping->large = large;
	for (i = 0; i < 3; i++) {
		word = mapping->words[stamp_word(large, i)];
		zeroes += word == 0;
		if (word && word != stamp)
			wrong("mmap: task %d: got a page with %#llx\n", mapping->tid,
			      (unsigned long long)word);
	}
	if (zeroes != 0 && zeroes != 3)
		wrong("mmap: task %d: got a page with part of a stamp\n", mapping->tid);
	for (i = 0; i < 3; i++)
		mapping->words[stamp_word(large, i)] = stamp;
	return true;
}

static void unmap(struct mapping *mapping, const char *when)
{
	check(mapping, when);
	munmap(mapping->words, size_of(mapping->large));
	mapping->words = NULL;
	COUNT(unmapped);
}

/* Mappings that threads did not remove, with their stamps */
static pthread_mutex_t orphans_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mapping orphans[NR_THREADS * NR_MAPPINGS];

static void leave_behind(struct mapping *mapping)
{
	struct mapping previous = *mapping;
	static unsigned int next;

	pthread_mutex_lock(&orphans_lock);
	mapping->words = NULL;
	if (orphans[next % (NR_THREADS * NR_MAPPINGS)].words) {
		struct mapping old = orphans[next % (NR_THREADS * NR_MAPPINGS)];

		orphans[next % (NR_THREADS * NR_MAPPINGS)] = previous;
		previous = old;
	} else {
		orphans[next % (NR_THREADS * NR_MAPPINGS)] = previous;
		previous.words = NULL;
	}
	next++;
	pthread_mutex_unlock(&orphans_lock);
	COUNT(orphans);
	if (previous.words)
		unmap(&previous, "left behind");
}

static void in_child(uint64_t random)
{
	struct mapping mapping;
	uint64_t stamp;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stamp = __atomic_add_fetch(&shared->next_stamp, 1, __ATOMIC_RELAXED);
	if (map_one(&mapping, stamp, &random)) {
		sched_yield();
		check(&mapping, "child");
	}
	if (next_random(&random) % 4 == 0) {
		COUNT(execs);
		execl("/bin/true", STRESS_COMM, NULL);
	}
	_exit(0);
}

static void change(struct mapping *mapping, uint64_t random)
{
	size_t size = size_of(mapping->large);
	void *moved, *hole;

	switch (random % 4) {
	case 0:
		hole = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (hole == MAP_FAILED)
			break;
		/* If it fails for lack of memory, either may be mapped: abandon the mapping. */
		moved = mremap(mapping->words, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, hole);
		mapping->words = moved == MAP_FAILED ? NULL : moved;
		break;
	case 1:
		if (mprotect(mapping->words, size, PROT_READ) == 0 &&
		    mprotect(mapping->words, size, PROT_READ | PROT_WRITE))
			mapping->words = NULL;
		break;
	case 2:
		if (size == page_size)
			break;
		if (munmap(mapping->words, page_size) == 0)
			wrong("munmap: task %d: took a part\n", mapping->tid);
		else if (errno != EINVAL && errno != ENOMEM)
			wrong("munmap of a part: %s\n", strerror(errno));
		break;
	case 3:
		mapping->words[mapping->large ? 1 + STRESS_WORDS_APART : 1] = mapping->stamp;
		break;
	}
}

static void *worker_thread(void *argument)
{
	struct mapping mappings[NR_MAPPINGS] = {}, *mapping;
	uint64_t stamp, random, r;
	int i, rounds;
	pid_t child;

	stamp = __atomic_add_fetch(&shared->next_stamp, 1, __ATOMIC_RELAXED);
	random = seed * 0x9e3779b97f4a7c15ULL + stamp;
	rounds = next_random(&random) % 200;
	shared->tids[stamp % NR_TIDS] = own_tid();
	COUNT(threads);

	while (!shared->stop && rounds--) {
		r = next_random(&random);
		mapping = &mappings[(r >> 8) % NR_MAPPINGS];
		switch (r % 16) {
		case 0 ... 5:
			if (mapping->words)
				unmap(mapping, "unmap");
			if (!map_one(mapping, stamp, &random))
				mapping->words = NULL;
			break;
		case 6 ... 11:
			if (mapping->words)
				change(mapping, r >> 32);
			break;
		case 12:
			child = fork();
			if (child == 0)
				in_child(r);
			if (child > 0) {
				COUNT(forks);
				waitpid(child, NULL, 0);
			}
			break;
		default:
			for (i = 0; i < NR_MAPPINGS; i++)
				if (mappings[i].words)
					check(&mappings[i], "still mapped");
			sched_yield();
		}
	}
	for (i = 0; i < NR_MAPPINGS; i++) {
		if (!mappings[i].words)
			continue;
		if (next_random(&random) & 1)
			leave_behind(&mappings[i]);
		else
			unmap(&mappings[i], "end");
	}
	return NULL;
}

static int worker(int number)
{
	pthread_t threads[NR_THREADS] = {};
	int i;

	while (!shared->stop) {
		for (i = 0; i < NR_THREADS; i++)
			if (!threads[i] && pthread_create(&threads[i], NULL, worker_thread, NULL))
				threads[i] = 0;
		for (i = 0; i < NR_THREADS; i++)
			if (threads[i] && (pthread_join(threads[i], NULL) == 0))
				threads[i] = 0;
	}
	for (i = 0; i < NR_THREADS * NR_MAPPINGS; i++)
		if (orphans[i].words)
			unmap(&orphans[i], "left behind to the end");
	return 0;
}

static int updater(int number)
{
	static union {
		struct stress_small small;
		struct stress_large large;
		unsigned long long words[STRESS_LARGE_WORDS];
	} value;
	uint64_t random = seed + 1000 + number, r;
	int fd, pidfd, i;
	bool large;
	pid_t tid;

	while (!shared->stop) {
		r = next_random(&random);
		large = r & 0x10000;
		tid = shared->tids[(r >> 24) % NR_TIDS];
		fd = open_map(large, (r >> 20) % STRESS_SLOTS);
		pidfd = tid ? syscall(SYS_pidfd_open, tid, O_EXCL) : -1;
		if (fd >= 0 && pidfd >= 0) {
			switch (r % 4) {
			case 0:
				bpf_map_delete_elem(fd, &pidfd);
				COUNT(deletes);
				break;
			case 1:
				bpf_map_lookup_elem(fd, &pidfd, &value);
				COUNT(lookups);
				break;
			default:
				for (i = 0; i < STRESS_LARGE_WORDS; i++)
					value.words[i] = UPDATED | tid;
				bpf_map_update_elem(fd, &pidfd, &value, (r >> 40) % 3);
				COUNT(updates);
			}
		}
		if (fd >= 0)
			close(fd);
		if (pidfd >= 0)
			close(pidfd);
	}
	return 0;
}

static int create_map(bool large)
{
	int words = large ? STRESS_LARGE_WORDS : STRESS_SMALL_WORDS, int_id, word_id, fd = -1;
	LIBBPF_OPTS(bpf_map_create_opts, options);
	struct btf *btf = btf__new_empty();

	if (libbpf_get_error(btf))
		return -1;
	int_id = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	word_id = btf__add_int(btf, "unsigned long long", 8, 0);
	options.btf_key_type_id = int_id;
	options.btf_value_type_id = btf__add_array(btf, int_id, word_id, words);
	options.map_flags = BPF_F_NO_PREALLOC | BPF_F_MMAPABLE;
	if (!btf__load_into_kernel(btf)) {
		options.btf_fd = btf__fd(btf);
		fd = bpf_map_create(BPF_MAP_TYPE_TASK_STORAGE, "stress", 4, words * 8, 0, &options);
	}
	btf__free(btf);
	return fd;
}

static int replacer(int number)
{
	uint64_t random = seed + 2000 + number, r;
	uint32_t slot;
	int fd;

	while (!shared->stop) {
		r = next_random(&random);
		slot = (r >> 8) % STRESS_SLOTS;
		fd = create_map(r & 1);
		if (fd >= 0) {
			bpf_map_update_elem(r & 1 ? large_slots : small_slots, &slot, &fd, 0);
			close(fd);
			COUNT(maps);
		}
		usleep(next_random(&random) % 20000);
	}
	return 0;
}

/* Allocates memory until the cgroup is full. The OOM killer may end it. */
static int hog(int number)
{
	uint64_t random = seed + 3000 + number;
	size_t size;
	char *memory;

	while (!shared->stop) {
		size = (next_random(&random) % 200) << 20;
		memory = mmap(NULL, size + page_size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		usleep(next_random(&random) % 50000);
		if (memory != MAP_FAILED)
			munmap(memory, size + page_size);
		usleep(next_random(&random) % 200000);
	}
	return 0;
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

static long cgroup_kernel_bytes(void)
{
	FILE *file = fopen(CGROUP "/memory.stat", "r");
	long bytes = -1;
	char line[128];

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "kernel %ld", &bytes) == 1)
			break;
	fclose(file);
	return bytes;
}

/*
 * Charges in the stocks of processors are not lost: the kernel keeps them for later slab allocations.
 * PREEMPT_RT keeps more of them. If the stock is locked, the rest of a page goes to the cgroup's own
 * stock. A lower limit empties the stocks of processors, and the next allocation on a processor takes
 * the cgroup's stock.
 */
static void return_kept_charges(void)
{
	int cpu, ends[2];
	cpu_set_t set;
	pid_t child;

	write_file(CGROUP "/memory.max", "64K");
	write_file(CGROUP "/memory.max", CGROUP_LIMIT);
	for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		child = fork();
		if (child == 0) {
			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
			_exit(sched_setaffinity(0, sizeof(set), &set) ||
			      !write_file(CGROUP "/cgroup.procs", "0") || pipe(ends));
		}
		if (child > 0)
			waitpid(child, NULL, 0);
	}
}

/* Makes one of fifty allocations fail for tasks that ask for it, if the kernel supports it. */
static bool set_up_faults(void)
{
	static const char * const kinds[] = { "failslab", "fail_page_alloc" };
	static const char * const settings[][2] = {
		{ "task-filter", "Y" }, { "probability", "2" }, { "interval", "1" },
		{ "times", "-1" }, { "verbose", "0" }, { "ignore-gfp-wait", "N" },
	};
	char path[128];
	size_t i, j;

	for (i = 0; i < 2; i++)
		for (j = 0; j < sizeof(settings) / sizeof(*settings); j++) {
			snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", kinds[i],
				 settings[j][0]);
			if (!write_file(path, settings[j][1]))
				return false;
		}
	write_file("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	return true;
}

static const struct role {
	const char *name;
	int (*run)(int number);
	bool faults, first_to_be_killed;
} roles[] = {
	{ "worker", worker }, { "worker", worker },
	{ "worker", worker, true }, { "worker", worker, true },
	{ "updater", updater }, { "updater", updater, true },
	{ "replacer", replacer }, { "replacer", replacer, true },
	{ "hog", hog, false, true },
};

#define NR_ROLES ((int)(sizeof(roles) / sizeof(*roles)))

static pid_t start(int number)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, STRESS_COMM);
	if (!write_file(CGROUP "/cgroup.procs", "0"))
		_exit(2);
	if (roles[number].first_to_be_killed)
		write_file("/proc/self/oom_score_adj", "1000");
	if (roles[number].faults)
		write_file("/proc/self/make-it-fail", "1");
	_exit(roles[number].run(number));
}

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return level == LIBBPF_WARN && !shared ? vfprintf(stderr, format, arguments) : 0;
}

/*
 * Only the OOM killer may end a process. SIGBUS or SIGSEGV may mean that a mapping lost its pages. If
 * allocations fail on purpose, it may also be a page of the program or of the stack.
 */
static void check_end(const struct role *role, int status)
{
	char line[128];

	if (WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : !WEXITSTATUS(status))
		return;
	snprintf(line, sizeof(line), "a %s%s ended with status %#x\n", role->name,
		 role->faults ? " with allocation failures" : "", status);
	if (role->faults)
		fputs(line, stdout);
	else
		wrong("%s", line);
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 60, i, status, tries, replaced = 0;
	pid_t pids[NR_ROLES], pid;
	struct utsname uts;
	struct stress *skel;
	time_t end, next_report;
	uint32_t slot;
	long bytes, least = LONG_MAX;
	bool faults;

	setvbuf(stdout, NULL, _IOLBF, 0);
	page_size = sysconf(_SC_PAGESIZE);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0);
	libbpf_set_print(silent);
	skel = stress__open_and_load();
	if (!skel)
		return 1;
	small_slots = bpf_map__fd(skel->maps.small_slots);
	large_slots = bpf_map__fd(skel->maps.large_slots);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	mkdir(CGROUP, 0755);
	if (shared == MAP_FAILED || !write_file(CGROUP "/memory.max", CGROUP_LIMIT)) {
		fprintf(stderr, "there is no memory cgroup at " CGROUP "\n");
		return 1;
	}
	write_file("/proc/sys/vm/panic_on_oom", "0");
	faults = set_up_faults();
	if (argc > 3 && !faults) {
		fprintf(stderr, "the kernel does not let allocations fail\n");
		return 1;
	}
	/* kmalloc_nolock() may deadlock there under the lock of a run queue, for all maps. */
	if (!uname(&uts) && strstr(uts.version, "PREEMPT_RT"))
		bpf_program__set_autoattach(skel->progs.on_switch, false);
	if (stress__attach(skel)) {
		fprintf(stderr, "the programs cannot be attached\n");
		return 1;
	}
	printf("seed %llu, %d seconds, %s\n", (unsigned long long)seed, seconds,
	       faults ? "with allocation failures" : "without allocation failures");

	for (i = 0; i < NR_ROLES; i++)
		pids[i] = start(i);
	end = time(NULL) + seconds;
	next_report = time(NULL) + 10;
	while (!shared->stop && time(NULL) < end) {
		pid = waitpid(-1, &status, WNOHANG);
		for (i = 0; pid > 0 && i < NR_ROLES; i++)
			if (pids[i] == pid) {
				check_end(&roles[i], status);
				pids[i] = start(i);
				replaced++;
			}
		if (time(NULL) >= next_report) {
			struct counters *c = &shared->count;

			printf("%lld s left: %llu mapped (%llu failed), %llu unmapped, %llu threads, %llu forks, %llu execs, %llu updates, %llu deletes, %llu lookups, %llu maps, %llu left behind; programs: %llu got, %llu failed, %llu deleted; %d processes replaced\n",
			       (long long)(end - time(NULL)), c->mapped, c->map_failed,
			       c->unmapped, c->threads, c->forks, c->execs, c->updates,
			       c->deletes, c->lookups, c->maps, c->orphans, skel->bss->got,
			       skel->bss->failed, skel->bss->deleted, replaced);
			next_report = time(NULL) + 10;
		}
		usleep(10000);
	}
	shared->stop = 1;
	for (tries = 0; tries < 1000 && (pid = waitpid(-1, &status, WNOHANG)) >= 0; tries++) {
		for (i = 0; pid > 0 && i < NR_ROLES; i++)
			if (pids[i] == pid) {
				check_end(&roles[i], status);
				pids[i] = 0;
			}
		usleep(10000);
	}
	for (i = 0; i < NR_ROLES; i++)
		if (pids[i] > 0 && waitpid(pids[i], NULL, WNOHANG) == 0)
			kill(pids[i], SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;

	for (slot = 0; slot < STRESS_SLOTS; slot++) {
		bpf_map_delete_elem(small_slots, &slot);
		bpf_map_delete_elem(large_slots, &slot);
	}
	stress__destroy(skel);

	/* Maps are freed by workers, after grace periods. Wait while the memory becomes less. */
	for (tries = 0; tries < 100; tries++) {
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
		usleep(100000);
		write_file(CGROUP "/memory.reclaim", "1G");
		if (tries % 10 == 9)
			return_kept_charges();
		bytes = cgroup_kernel_bytes();
		if (bytes >= 0 && bytes <= 256 << 10)
			break;
		if (bytes < least) {
			least = bytes;
			tries = 0;
		}
	}
	if (shared->count.mapped <= shared->count.map_failed)
		wrong("%llu values were mapped, and %llu were not\n", shared->count.mapped,
		      shared->count.map_failed);
	printf("kernel memory of the cgroup at the end: %ld bytes\n", bytes);
	if (bytes < 0 || bytes > 256 << 10)
		wrong("memory is lost\n");
	puts(shared->wrong ? "FAILED" : "ok");
	return shared->wrong;
}
