// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_SLOTS_H
#define MMS_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Per-thread tables of slots, one slot per storage: a thread-local variable, and atomic and
 * volatile accesses to it and to the slots.
 *
 * A storage has an index. A thread reaches its value of that storage through the slot with this
 * index in its own table. A thread without a table points to mms_no_slots, which is all zero and
 * has a slot for every index, so the lookup needs no check.
 *
 * Only the thread itself sets `direct` to a pointer, with the registry's lock held. Any thread may
 * set it to null with the lock held. A thread, or a signal handler that runs on it, reads it
 * without the lock and finds null or the address of its value.
 */
struct mms_slot {
	void *_Nullable direct;		/* the thread's value, if a view may use it in place */
	void *_Nullable attachment;	/* the registry's object for this thread and storage */
};

/* The maximum number of storages of a process at a time. */
enum { MMS_SLOT_COUNT = 16384 };

/* The library's thread-local variables. */
struct mms_thread {
	struct mms_slot *_Nonnull slots;	/* never null */
	void *_Nullable record;			/* null before the thread's first touch */
	uint32_t destructor_rounds;		/* number of runs of the thread-end destructor */
	bool is_in_slow_path;			/* set while the library holds or acquires a lock */
};

/*
 * Returns the offset of the calling thread's struct mms_thread from its thread pointer. The block
 * uses the initial-exec model, so the offset is the same for all threads of the process.
 *
 * A process may contain several copies of the library, each with its own block. Storages and
 * registries store the offset of their copy, and the accesses below take it as an argument instead
 * of naming the variable. Code of one copy therefore works on a storage of another copy,
 * independently of the copy of a function that the dynamic linker selects.
 */
uintptr_t mms_thread_offset(void);

static inline struct mms_thread *_Nonnull mms_thread_at(uintptr_t offset)
{
	return (struct mms_thread *)((char *)__builtin_thread_pointer() + offset);
}

/* Returns the address in the calling thread's slot at byte `slot` of its table, or null. */
static inline void *_Nullable mms_slot_direct(uintptr_t thread, uintptr_t slot)
{
	char *slots;

#if defined(__x86_64__)
	/* One load relative to %fs; __builtin_thread_pointer() needs two. */
	slots = *(char *volatile __attribute__((address_space(257))) *)thread;
#else
	slots = (char *)__atomic_load_n(&mms_thread_at(thread)->slots, __ATOMIC_RELAXED);
#endif
	return __atomic_load_n(&((struct mms_slot *)(slots + slot))->direct, __ATOMIC_RELAXED);
}

/* Returns the slots of a thread without a table: zero, and never written. */
const struct mms_slot *_Nonnull mms_empty_slots(void);

/* Copies `count` slots into a table that no thread uses yet. */
void mms_slots_copy(struct mms_slot *_Nonnull to, const struct mms_slot *_Nonnull from,
		    size_t count);

/* Sets the thread's table. Pairs with the address dependency in mms_slot_direct(). */
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
 * Enters a slow path: disables cancellation of the thread and stores the previous state in
 * `cancel_state`. Returns false and changes nothing if the thread is already in a slow path: the
 * caller is a signal handler that interrupted it.
 */
bool mms_slow_path_enter(struct mms_thread *_Nonnull thread, int *_Nonnull cancel_state);
void mms_slow_path_leave(struct mms_thread *_Nonnull thread, int cancel_state);

/*
 * Keeps the shared object that contains this code in memory until the process ends. dladdr() is not in
 * Glibc's module.
 */
void mms_pin_library(void);

#endif
