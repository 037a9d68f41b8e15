// SPDX-License-Identifier: GPL-2.0
/* Compares mapped values with user pages (uptr) and with system calls, on one kernel. Prints a table in
 * Markdown. For instructions: kernel/run --count-instructions -- compare
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include "compare.h"
#include "compare.skel.h"

#define CGROUP "/sys/fs/cgroup/compare"
#define NR_THREADS 500

static struct compare *skel;
static size_t page_size;

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int own_pidfd(void)
{
	int fd = syscall(SYS_pidfd_open, syscall(SYS_gettid), O_EXCL);

	if (fd < 0)
		die("pidfd_open");
	return fd;
}

/* The value of the thread that a program reads afterwards */
static struct compare_data *first_touch(enum compare_kind kind)
{
	struct compare_data empty = {};
	struct compare_data *data = NULL;
	int fd;

	switch (kind) {
	case COMPARE_MAPPED:
		data = mmap(NULL, sizeof(*data), PROT_READ | PROT_WRITE, MAP_SHARED,
			    bpf_map__fd(skel->maps.mapped), 0);
		if (data == MAP_FAILED)
			die("mmap");
		break;
	case COMPARE_USER_PAGE:
		data = aligned_alloc(page_size, page_size);
		memset(data, 0, page_size);
		fd = own_pidfd();
		if (bpf_map_update_elem(bpf_map__fd(skel->maps.user_page), &fd, &data, BPF_ANY))
			die("update of a user page");
		close(fd);
		break;
	case COMPARE_ORDINARY:
		fd = own_pidfd();
		if (bpf_map_update_elem(bpf_map__fd(skel->maps.ordinary), &fd, &empty, BPF_ANY))
			die("update");
		close(fd);
		break;
	default:
		break;
	}
	if (data)
		__atomic_store_n(&data->words[0], 1, __ATOMIC_RELAXED);
	return data;
}

static pthread_barrier_t ready, touch, touched, leave;
static enum compare_kind thread_kind;
static long long touch_time;

static void *touch_in_thread(void *arg)
{
	long long start;

	pthread_barrier_wait(&ready);
	pthread_barrier_wait(&touch);
	start = now();
	first_touch(thread_kind);
	__atomic_fetch_add(&touch_time, now() - start, __ATOMIC_RELAXED);
	pthread_barrier_wait(&touched);
	pthread_barrier_wait(&leave);
	return NULL;
}

static long memory_of(const char *key)
{
	FILE *file = fopen(CGROUP "/memory.stat", "r");
	char line[128], name[64];
	long bytes = -1, value;

	if (!file)
		die(CGROUP "/memory.stat");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %ld", name, &value) == 2 && !strcmp(name, key))
			bytes = value;
	fclose(file);
	return bytes;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

struct result {
	double touch, kernel, anon, get;
};

static double get(enum compare_kind kind)
{
	skel->bss->kind = kind;
	skel->bss->rounds = 0;
	skel->bss->target = syscall(SYS_gettid);
	getpgid(0);
	if (skel->bss->rounds != COMPARE_ROUNDS) {
		fprintf(stderr, "the program did not run\n");
		exit(1);
	}
	return (double)skel->bss->nanoseconds / COMPARE_ROUNDS;
}

static struct result measure(enum compare_kind kind)
{
	pthread_t threads[NR_THREADS];
	struct result result = {};
	long kernel, anon;
	int i;

	thread_kind = kind;
	touch_time = 0;
	for (i = 0; i < NR_THREADS; i++)
		if (pthread_create(&threads[i], NULL, touch_in_thread, NULL))
			die("pthread_create");
	pthread_barrier_wait(&ready);
	usleep(200000);
	kernel = memory_of("kernel");
	anon = memory_of("anon");
	pthread_barrier_wait(&touch);
	pthread_barrier_wait(&touched);
	result.touch = (double)touch_time / NR_THREADS;
	result.kernel = (double)(memory_of("kernel") - kernel) / NR_THREADS;
	result.anon = (double)(memory_of("anon") - anon) / NR_THREADS;
	pthread_barrier_wait(&leave);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(threads[i], NULL);

	first_touch(kind);
	result.get = get(kind) - get(COMPARE_NOTHING);
	return result;
}

int main(void)
{
	static const char * const names[] = {
		[COMPARE_ORDINARY] = "system calls",
		[COMPARE_MAPPED] = "mapped",
		[COMPARE_USER_PAGE] = "user page (uptr)",
	};
	struct result results[COMPARE_KINDS], *result;
	int kind;

	page_size = sysconf(_SC_PAGESIZE);
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	mkdir(CGROUP, 0755);
	write_file(CGROUP "/cgroup.procs", "0");
	skel = compare__open_and_load();
	if (!skel || compare__attach(skel))
		return 1;
	pthread_barrier_init(&ready, NULL, NR_THREADS + 1);
	pthread_barrier_init(&touch, NULL, NR_THREADS + 1);
	pthread_barrier_init(&touched, NULL, NR_THREADS + 1);
	pthread_barrier_init(&leave, NULL, NR_THREADS + 1);

	/* Fill caches, and allocate tables that are allocated at first use */
	for (kind = COMPARE_ORDINARY; kind < COMPARE_KINDS; kind++)
		measure(kind);
	for (kind = COMPARE_ORDINARY; kind < COMPARE_KINDS; kind++)
		results[kind] = measure(kind);

	puts("| | first touch (ns) | get and read by a program (ns) | kernel memory (bytes) | user memory (bytes) |");
	puts("|---|---|---|---|---|");
	for (kind = COMPARE_ORDINARY; kind < COMPARE_KINDS; kind++) {
		result = &results[kind];
		printf("| %s | %.0f | %.1f | %.0f | %.0f |\n", names[kind], result->touch, result->get,
		       result->kernel, result->anon);
	}
	compare__destroy(skel);
	return 0;
}
