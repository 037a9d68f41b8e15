// SPDX-License-Identifier: Apache-2.0
#ifndef BASELINES_H
#define BASELINES_H

#include <stddef.h>
#include <stdint.h>

#include "crowd.h"

/* As in values.bpf.c. */
struct counters {
	uint64_t a;
	uint64_t b;
	uint32_t c;
	uint32_t d;
	uint16_t e;
	uint16_t f;
	uint8_t g;
	uint8_t h;
	uint16_t reserved;
	uint64_t more[4];
};

#pragma clang assume_nonnull begin

/*
 * C code with the thread's page in a thread-local pointer. Each runs its operation `count` times
 * and returns a sum, so that no operation is optimized away.
 */
void baseline_enter(void *page);

uint64_t baseline_read_field(size_t count);
uint64_t baseline_write_field(size_t count);
uint64_t baseline_mixed_fields(size_t count);
uint64_t baseline_copy(size_t count);
uint64_t baseline_add(size_t count);

/* Uses the pointer each time, with a check that the thread has one. */
uint64_t baseline_enter_and_read(size_t count);

/* Each time as the kernel's helper for task-local data does: an atomic pointer to the data of all
 * keys, and the key's offset in the thread's page.
 */
void baseline_prepare_keys(void);
uint64_t baseline_enter_by_key(size_t count);

/* System calls with libbpf. Negative results are -errno. */
long baseline_lookup(int map, int pidfd, size_t count);
long baseline_lookup_and_update(int map, int pidfd, size_t count);

/* Registers a page for the calling thread with the map, as attaching does, and removes it. */
void *_Nullable baseline_attach(int map);
void baseline_detach(int map, void *page);

/* The same for a crowd of threads, in CROWD_STORAGES maps. */
int baseline_crowd(int threads, const int *maps, struct crowd_figures *figures);

/* Creates and removes the calling thread's element with system calls, as a view and a removal do. */
int baseline_create_and_remove(int map, int pidfd);

/* The same with a map that threads map. */
int baseline_map_and_remove(int map, int pidfd);

/* Opens, loads and closes an object file. */
int baseline_open_and_load(const void *bytes, size_t size);

/* Runs up to 64 threads that count events. Returns 0, or -errno. */
enum counting { COUNT_PACKED, COUNT_PADDED, COUNT_SHARED_ATOMIC, COUNT_HASH };
int baseline_count(enum counting way, int threads, size_t events, int map);

int64_t baseline_now(void);

/* Compiler barrier: the bytes are in memory. */
static inline void baseline_look_at(const void *bytes)
{
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

/* Compiler barrier between the iterations of a loop. */
static inline void baseline_forget_memory(void)
{
	__asm__ volatile("" : : : "memory");
}

/* Returns a pidfd of the calling thread, opened at its first call. */
int baseline_own_pidfd(void);

#pragma clang assume_nonnull end

#endif
