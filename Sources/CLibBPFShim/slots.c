// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "mms_slots.h"

#include <dlfcn.h>
#include <pthread.h>

/*
 * No symbol here may be visible to other shared objects. Otherwise, if several of them contain the
 * library, the dynamic linker resolves all references to the first copy.
 */
#pragma GCC visibility push(hidden)

/* In .bss, so it takes no memory and no space in the file. */
struct mms_slot mms_no_slots[MMS_SLOT_COUNT];

__attribute__((tls_model("initial-exec")))
_Thread_local struct mms_thread mms_thread = { .slots = mms_no_slots };

uintptr_t mms_thread_offset(void)
{
	return (uintptr_t)&mms_thread - (uintptr_t)__builtin_thread_pointer();
}

const struct mms_slot *mms_empty_slots(void)
{
	return mms_no_slots;
}

void mms_slots_copy(struct mms_slot *to, const struct mms_slot *from, size_t count)
{
	for (size_t index = 0; index < count; index++) {
		void *direct = __atomic_load_n(&from[index].direct, __ATOMIC_RELAXED);

		mms_slot_set_direct(&to[index], direct);
		mms_slot_set_attachment(&to[index], mms_slot_attachment(&from[index]));
	}
}

bool mms_slow_path_enter(struct mms_thread *thread, int *cancel_state)
{
	if (*(volatile bool *)&thread->is_in_slow_path)
		return false;
	/* First, so that a thread that is cancelled in between does not leave the flag set. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, cancel_state);
	*(volatile bool *)&thread->is_in_slow_path = true;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return true;
}

void mms_slow_path_leave(struct mms_thread *thread, int cancel_state)
{
	int ignored;

	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*(volatile bool *)&thread->is_in_slow_path = false;
	pthread_setcancelstate(cancel_state, &ignored);
}

void mms_pin_library(void)
{
	Dl_info info;

	if (dladdr((void *)mms_pin_library, &info) && info.dli_fname)
		dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

#pragma GCC visibility pop
