// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "kernel_side.h"
#include "baselines.h"

#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

/* Keep in step with storage-get.bpf.c */
#define GETS 1000
#define CREATIONS 100
#define MAPPINGS 100
#define THREADS 1000
#define SAMPLES 9

struct outcome {
	uint64_t nanoseconds;
	uint64_t sum;
};

struct side {
	struct bpf_object *object;
	const char *unit;
};

static int fd_of(struct side *side, const char *program)
{
	return bpf_program__fd(bpf_object__find_program_by_name(side->object, program));
}

static int map_of(struct side *side, const char *map)
{
	return bpf_map__fd(bpf_object__find_map_by_name(side->object, map));
}

static double run(struct side *side, const char *program)
{
	struct outcome outcome = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &outcome, .ctx_size_in = sizeof(outcome));
	int fd = fd_of(side, program), tries = 100000, failed;

	/* A program that interrupted another one on the same processor cannot create a value. */
	do {
		failed = bpf_prog_test_run_opts(fd, &opts);
	} while (!failed && opts.retval && tries-- && !sched_yield());
	if (failed || opts.retval) {
		fprintf(stderr, "error: program %s failed: errno %d, returned %d\n", program,
			errno, opts.retval);
		exit(1);
	}
	return outcome.nanoseconds;
}

static void print(struct side *side, const char *what, double ours, double baseline)
{
	printf("%s\t%s\t%.3f\t%.3f\n", what, side->unit, ours, baseline);
}

static void compare_gets(struct side *side, const char *what, const char *program)
{
	for (int i = 0; i < SAMPLES; i++) {
		double loop = run(side, "get_nothing");
		double ours = run(side, program), baseline = run(side, "get_plain");

		baseline += run(side, "get_plain");
		ours += run(side, program);
		loop += run(side, "get_nothing");
		print(side, what, (ours - loop) / 2 / GETS, (baseline - loop) / 2 / GETS);
	}
}

static void compare_creations(struct side *side)
{
	for (int i = 0; i < SAMPLES; i++) {
		double ours = run(side, "create_mmapable"), baseline = run(side, "create_plain");

		baseline += run(side, "create_plain");
		ours += run(side, "create_mmapable");
		print(side, "kernel: delete and create by sleepable program (mmapable | ordinary map)",
		      ours / 2 / CREATIONS, baseline / 2 / CREATIONS);
	}
}

/* The steps to a thread's first value. */
static void compare_mappings(struct side *side)
{
	int mmapable = map_of(side, "mmapable"), plain = map_of(side, "plain");
	int pidfd = baseline_own_pidfd();
	uint64_t value[4] = { 1 };

	for (int i = 0; i < SAMPLES; i++) {
		int64_t ours = 0, baseline = 0, before;

		for (int j = 0; j < MAPPINGS; j++) {
			volatile uint64_t *page;

			bpf_map_delete_elem(mmapable, &pidfd);
			bpf_map_delete_elem(plain, &pidfd);
			before = baseline_now();
			page = mmap(NULL, sizeof(value), PROT_READ | PROT_WRITE, MAP_SHARED,
				    mmapable, 0);
			if (page == MAP_FAILED) {
				perror("error: mmap");
				exit(1);
			}
			*page = 1;
			ours += baseline_now() - before;
			munmap((void *)page, sizeof(value));
			before = baseline_now();
			if (bpf_map_update_elem(plain, &pidfd, value, BPF_NOEXIST)) {
				perror("error: update");
				exit(1);
			}
			baseline += baseline_now() - before;
		}
		print(side, "kernel: first write by the thread (mmap and store | update of an ordinary map)",
		      (double)ours / MAPPINGS, (double)baseline / MAPPINGS);
	}
}

struct worker_pool {
	struct side *side;
	pthread_barrier_t barrier;
};

static void *create_one(void *argument)
{
	struct worker_pool *pool = argument;

	pthread_barrier_wait(&pool->barrier);
	pthread_barrier_wait(&pool->barrier);
	run(pool->side, "create_plain");
	pthread_barrier_wait(&pool->barrier);
	pthread_barrier_wait(&pool->barrier);
	run(pool->side, "create_mmapable");
	pthread_barrier_wait(&pool->barrier);
	pthread_barrier_wait(&pool->barrier);
	return NULL;
}

#define CGROUP "/sys/fs/cgroup/kernel-side"

static int write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "r+e");
	int failed = !file || fputs(text, file) < 0;

	return file && fclose(file) ? 1 : failed;
}

/* Kernel memory of the cgroup, after the deleted elements are freed. */
static double kernel_bytes(void)
{
	long long bytes = 0, last = -1;
	char line[128];

	for (int i = 0; i < 50 && bytes != last; i++) {
		FILE *file = fopen(CGROUP "/memory.stat", "re");

		last = bytes;
		while (file && fgets(line, sizeof(line), file))
			sscanf(line, "kernel %lld", &bytes);
		if (file)
			fclose(file);
		usleep(500000);
	}
	return bytes;
}

/* Before the maps are created: their cgroup pays for the elements. Elsewhere than in the hierarchy of
 * cgroup 2, the names would be those of ordinary files.
 */
static bool enter_cgroup(void)
{
	struct statfs files;

	return !statfs("/sys/fs/cgroup", &files) && files.f_type == CGROUP2_SUPER_MAGIC &&
	       !write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory") &&
	       (!mkdir(CGROUP, 0755) || errno == EEXIST) &&
	       !write_text(CGROUP "/cgroup.procs", "0");
}

static void leave_cgroup(void)
{
	/* In a virtual machine that ends after this. */
	write_text("/sys/fs/cgroup/cgroup.procs", "0");
	rmdir(CGROUP);
}

static void compare_memory(struct side *side)
{
	struct worker_pool pool = { .side = side };
	double empty, plain, mmapable;
	pthread_t threads[THREADS];
	int started = 0;

	pthread_barrier_init(&pool.barrier, NULL, THREADS + 1);
	for (; started < THREADS; started++) {
		if (pthread_create(&threads[started], NULL, create_one, &pool)) {
			perror("error: pthread_create");
			exit(1);
		}
	}
	pthread_barrier_wait(&pool.barrier);
	empty = kernel_bytes();
	pthread_barrier_wait(&pool.barrier);
	pthread_barrier_wait(&pool.barrier);
	plain = kernel_bytes();
	pthread_barrier_wait(&pool.barrier);
	pthread_barrier_wait(&pool.barrier);
	mmapable = kernel_bytes();
	pthread_barrier_wait(&pool.barrier);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	/* An element of an ordinary map also contains the task's own data. */
	printf("%s\tbytes\t%.0f\t%.0f\n", "kernel: memory of an element (mmapable | first of an ordinary map)",
	       (mmapable - plain) / THREADS, (plain - empty) / THREADS);
}

/* Nanoseconds for that many iterations of two instructions, or with one more in each. */
static int64_t turns(uint64_t count, bool longer)
{
	int64_t before = baseline_now();

	if (longer)
		__asm__ volatile("1: nop\n\tdec %0\n\tjnz 1b" : "+r"(count));
	else
		__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(count));
	return baseline_now() - before;
}

/* Whether the clock counts instructions: these, and those of timer interrupts. */
/* The minimum of some attempts, because timer interrupts also execute instructions. */
static int64_t least_turns(bool longer)
{
	int64_t least = turns(1000000, longer), next;
	int tries;

	for (tries = 0; tries < 20; tries++) {
		next = turns(1000000, longer);
		least = next < least ? next : least;
	}
	return least;
}

static bool clock_counts(void)
{
	int64_t two = least_turns(false), three = least_turns(true);

	fprintf(stderr, "clock: %lld ns for 2000000 instructions, %lld for 3000000\n",
		(long long)two, (long long)three);
	return two > 1990000 && two < 2010000 && three > 2990000 && three < 3010000;
}

static struct bpf_object *open_and_load(const void *bytes, size_t size, bool mmapable, bool paged)
{
	struct bpf_object *object = bpf_object__open_mem(bytes, size, NULL);
	struct bpf_program *program;
	struct bpf_map *map;
	int error;

	if (!object)
		return NULL;
	bpf_object__for_each_map(map, object)
		bpf_map__set_autocreate(map, (mmapable || strcmp(bpf_map__name(map), "mmapable")) &&
						     (paged || strcmp(bpf_map__name(map), "paged")));
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program,
					  (mmapable || !strstr(bpf_program__name(program), "mmapable")) &&
						  (paged || !strstr(bpf_program__name(program), "paged")));
	error = bpf_object__load(object);
	if (!error)
		return object;
	bpf_object__close(object);
	errno = -error;
	return NULL;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

int kernel_side(const void *bytes, size_t size, bool counted)
{
	struct side side = { .unit = counted ? "instructions" : "ns" };
	bool mmapable = true, paged = true, charged;
	struct utsname host;

	if (uname(&host)) {
		perror("error: uname");
		return 1;
	}

	if (counted && !clock_counts()) {
		fprintf(stderr, "error: this machine's clock does not count instructions\n");
		return 1;
	}
	libbpf_set_print(quiet);
	/* Outside of other users' cgroups. */
	charged = counted && enter_cgroup();
	side.object = open_and_load(bytes, size, true, true);
	if (!side.object) {
		paged = false;
		side.object = open_and_load(bytes, size, true, false);
	}
	if (!side.object) {
		paged = true;
		mmapable = false;
		side.object = open_and_load(bytes, size, false, true);
	}
	if (!side.object) {
		paged = false;
		side.object = open_and_load(bytes, size, false, false);
	}
	if (!side.object && errno == EPERM) {
		printf("left out: BPF programs: they need CAP_BPF and CAP_PERFMON\n");
		return 0;
	}
	if (!side.object) {
		perror("error: the programs cannot be loaded");
		return 1;
	}
	run(&side, "create_plain");
	run(&side, "create_declared");
	compare_gets(&side, "kernel: get in a map of TASK_STORAGE (task_storage_get | bpf_task_storage_get)",
		     "get_declared");
	if (mmapable) {
		run(&side, "create_mmapable");
		compare_gets(&side, "kernel: bpf_task_storage_get (mmapable | ordinary map)",
			     "get_mmapable");
		compare_creations(&side);
		compare_mappings(&side);
		if (charged)
			compare_memory(&side);
		else
			printf("left out: memory of an element: no memory cgroup can be made here\n");
	} else {
		printf("left out: mmapable maps: Linux %s has none\n", host.release);
	}
	if (paged && baseline_attach(map_of(&side, "paged")))
		compare_gets(&side, "kernel: bpf_task_storage_get (user page | ordinary map)",
			     "get_paged");
	else
		printf("left out: user pages: Linux %s has none, 6.13 and later do\n", host.release);
	bpf_object__close(side.object);
	if (charged)
		leave_cgroup();
	return 0;
}
