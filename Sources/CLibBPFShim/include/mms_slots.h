#ifndef MMS_SLOTS_H
#define MMS_SLOTS_H

#include <stdint.h>

/*
 * The calling thread's cache of what it has attached: one entry per slot. An entry is used only
 * when its key matches, and keys are never given out twice in a process, so an entry of a storage
 * that is gone can never be mistaken for a live one. Zero is no key.
 *
 * Only its own thread fills a slot. Another thread may clear one, hence the atomic key; relaxed
 * is enough, because the pointer is read by the thread that wrote it.
 */
enum { MMS_SLOT_COUNT = 32 };

struct mms_slot {
	uint64_t key;
	void *_Nonnull pointer;
};

/* initial-exec: two instructions to reach, and no call, also when linked into a shared object. */
extern _Thread_local struct mms_slot mms_slots[MMS_SLOT_COUNT]
	__attribute__((tls_model("initial-exec")));

/* `offset` is in bytes: sizeof(struct mms_slot) times an index below MMS_SLOT_COUNT. */
static inline struct mms_slot *_Nonnull mms_slot_at(uintptr_t offset)
{
	return (struct mms_slot *)((char *)mms_slots + offset);
}

static inline _Bool mms_slot_holds(const struct mms_slot *_Nonnull slot, uint64_t key)
{
	return __builtin_expect(__atomic_load_n(&slot->key, __ATOMIC_RELAXED) == key, 1);
}

static inline void *_Nonnull mms_slot_pointer(const struct mms_slot *_Nonnull slot)
{
	return slot->pointer;
}

static inline void mms_slot_fill(struct mms_slot *_Nonnull slot, uint64_t key,
				 void *_Nonnull pointer)
{
	/* A signal handler in between finds an empty slot, and not a key with another's pointer. */
	__atomic_store_n(&slot->key, 0, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	slot->pointer = pointer;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&slot->key, key, __ATOMIC_RELAXED);
}

static inline void mms_slot_clear(struct mms_slot *_Nonnull slot)
{
	__atomic_store_n(&slot->key, 0, __ATOMIC_RELAXED);
}

/* What the library keeps about the calling thread, or null before its first touch. */
extern _Thread_local void *_Nullable mms_thread_record
	__attribute__((tls_model("initial-exec")));

static inline void *_Nullable mms_thread_record_get(void)
{
	return mms_thread_record;
}

static inline void mms_thread_record_set(void *_Nullable record)
{
	mms_thread_record = record;
}

/* How often the calling thread was told that it ends. */
extern _Thread_local int mms_thread_ends
	__attribute__((tls_model("initial-exec")));

static inline int mms_thread_ends_get(void)
{
	return mms_thread_ends;
}

static inline void mms_thread_ends_add(void)
{
	mms_thread_ends++;
}

#endif
