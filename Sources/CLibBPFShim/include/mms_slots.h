#ifndef MMS_SLOTS_H
#define MMS_SLOTS_H

#include <stdint.h>

/*
 * The calling thread's cache of what it has attached: one entry per slot. An entry is used only
 * when its storage id matches, and ids are never given out twice in a process, so an entry of a
 * storage that is gone can never be mistaken for a live one.
 */
enum { MMS_SLOT_COUNT = 32 };

struct mms_slot {
	uint64_t storage_id;
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

static inline void mms_slot_set(uintptr_t offset, uint64_t storage_id, void *_Nonnull pointer)
{
	struct mms_slot *slot = mms_slot_at(offset);

	slot->pointer = pointer;
	slot->storage_id = storage_id;
}

/* Forgets everything that the calling thread has cached. */
static inline void mms_slots_clear(void)
{
	for (int i = 0; i < MMS_SLOT_COUNT; i++)
		mms_slots[i].storage_id = 0;
}

#endif
