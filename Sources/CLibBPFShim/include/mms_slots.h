// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_SLOTS_H
#define MMS_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Per-thread tables of slots, one slot per storage.
 *
 * A storage has an index. A thread reaches its value of that storage through the slot with this
 * index in its own table. A thread without a table points to mms_no_slots, which is all zero and
 * has a slot for every index, so the lookup needs no check.
 *
 * Only the thread itself sets `direct` to a pointer, and only while the registry's lock is held;
 * any thread may set it to null under that lock. A thread, or a signal handler that runs on it,
 * reads it without the lock and finds null or the address of its value.
 */
struct mms_slot {
	void *_Nullable direct;		/* the thread's value, if a view may use it in place */
	void *_Nullable attachment;	/* what the registry keeps for this thread and storage */
};

/* How many storages a process may have at a time. */
enum { MMS_SLOT_COUNT = 16384 };

/* What the library keeps in thread-local storage. */
struct mms_thread {
	struct mms_slot *_Nonnull slots;	/* never null */
	void *_Nullable record;			/* null before the thread's first touch */
	uint32_t destructor_rounds;		/* how often the thread-end destructor ran */
	bool is_in_slow_path;			/* set while the library holds or acquires a lock */
};

/*
 * Where the calling thread's struct mms_thread is, relative to its thread pointer. The block is of
 * the initial-exec model, so the offset is the same for all threads of the process.
 *
 * A process may contain several copies of the library, each with a block of its own. Storages and
 * registries remember the offset of their copy, and the accesses below take it as an argument
 * instead of naming the variable. So code of one copy works on a storage of another one, whichever
 * copy of a function the dynamic linker chose.
 */
uintptr_t mms_thread_offset(void);

static inline struct mms_thread *_Nonnull mms_thread_at(uintptr_t offset)
{
	return (struct mms_thread *)((char *)__builtin_thread_pointer() + offset);
}

/* The address in the calling thread's slot, `slot` bytes from the start of its table, or null. */
static inline void *_Nullable mms_slot_direct(uintptr_t thread, uintptr_t slot)
{
	char *slots;

#if defined(__x86_64__)
	/* One load relative to %fs, where __builtin_thread_pointer() would take two. */
	slots = *(char *volatile __attribute__((address_space(257))) *)thread;
#else
	slots = (char *)__atomic_load_n(&mms_thread_at(thread)->slots, __ATOMIC_RELAXED);
#endif
	return __atomic_load_n(&((struct mms_slot *)(slots + slot))->direct, __ATOMIC_RELAXED);
}

/* The slots of a thread without a table: zero, and never written. */
const struct mms_slot *_Nonnull mms_empty_slots(void);

/* A table of `count` zeroed slots, or null. Freed with free(). */
struct mms_slot *_Nullable mms_slots_create(size_t count);

/* Copies `count` slots into a table that no thread uses yet. */
void mms_slots_copy(struct mms_slot *_Nonnull to, const struct mms_slot *_Nonnull from,
		    size_t count);

/* Makes the table the thread's. Pairs with the address dependency in mms_slot_direct(). */
static inline void mms_thread_publish_slots(struct mms_thread *_Nonnull thread,
					    const struct mms_slot *_Nonnull slots)
{
	__atomic_store_n(&thread->slots, (struct mms_slot *)slots, __ATOMIC_RELEASE);
}

static inline struct mms_slot *_Nonnull mms_thread_slots(const struct mms_thread *_Nonnull thread)
{
	return (struct mms_slot *)__atomic_load_n(&thread->slots, __ATOMIC_ACQUIRE);
}

static inline void mms_slot_set_direct(struct mms_slot *_Nonnull slot, void *_Nullable direct)
{
	__atomic_store_n(&slot->direct, direct, __ATOMIC_RELAXED);
}

static inline void *_Nullable mms_slot_attachment(const struct mms_slot *_Nonnull slot)
{
	return __atomic_load_n(&slot->attachment, __ATOMIC_RELAXED);
}

static inline void mms_slot_set_attachment(struct mms_slot *_Nonnull slot,
					   void *_Nullable attachment)
{
	__atomic_store_n(&slot->attachment, attachment, __ATOMIC_RELAXED);
}

/*
 * Enters a slow path: disables cancellation of the thread, whose previous state goes to
 * `cancel_state`. False, and nothing changes, if the thread is in one already: the caller is a
 * signal handler that interrupted it.
 */
bool mms_slow_path_enter(struct mms_thread *_Nonnull thread, int *_Nonnull cancel_state);
void mms_slow_path_leave(struct mms_thread *_Nonnull thread, int cancel_state);

/* Keeps the shared object that contains this code in memory until the process ends. */
void mms_pin_library(void);

#endif
