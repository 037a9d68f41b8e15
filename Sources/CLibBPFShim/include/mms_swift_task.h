// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_SWIFT_TASK_H
#define MMS_SWIFT_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * For storage of Swift tasks: functions and weak symbols of the Swift runtime, functions that are not in Glibc's
 * module, thread-local variables and volatile accesses.
 */

#pragma clang assume_nonnull begin

#define MMS_HIDDEN __attribute__((visibility("hidden")))

/* The Swift runtime. */

/* Returns the Swift task that the calling thread currently runs. */
MMS_HIDDEN void *_Nullable mms_swift_task_current(void);

/*
 * The runtime's functions for TaskLocal.withValue(), which binds a copy of its argument. These
 * consume the argument's reference, which saves a retain and a release. `type` is the type of the
 * pair, a Swift structure.
 */
MMS_HIDDEN void mms_task_local_push(const void *key, uint64_t tag, void *_Nullable reference,
				    const void *type);
MMS_HIDDEN void mms_task_local_pop(void);

/* Returns the layout version that the runtime exports for debuggers; -1 if it exports none. */
MMS_HIDDEN int64_t mms_swift_layout_version(void);

/* Returns the path of the file that contains the runtime; always null-terminated. */
MMS_HIDDEN void mms_swift_runtime_path(char *path, size_t size);

/*
 * Finds the words in the runtime's thread-local memory that equal the current Swift task, as
 * offsets from the thread pointer. Without a Swift task, finds the words that are 0. Returns their
 * number, of which the first `capacity` are stored, or -ENOENT if the runtime has no thread-local
 * memory.
 */
MMS_HIDDEN long mms_swift_find_task_words(int64_t *offsets, size_t capacity);

/* A word in the current Swift task that points to a binding with `key` and `tag`. */
struct mms_swift_binding {
	uint32_t bindings;	/* the word's offset in the Swift task */
	uint32_t tag;		/* the tag's offset in the binding; the key is at 8 */
};

/* Returns a result of the same form; -EAGAIN without a Swift task, or another error of pipe2(). */
MMS_HIDDEN long mms_swift_find_bindings(uint64_t key, uint64_t tag,
					struct mms_swift_binding *found, size_t capacity);

/*
 * The synchronous scopes of a thread. They have the layout of the runtime's bindings, with the tag
 * in each word where the runtime may store it.
 */
struct mms_thread_scope {
	uint64_t link;
	uint64_t key;
	uint64_t tag[6];
};

MMS_HIDDEN void mms_thread_scope_enter(struct mms_thread_scope *scope, uint64_t key,
				       uint64_t tag);
MMS_HIDDEN void mms_thread_scope_leave(struct mms_thread_scope *scope);

/* Returns the offset of the head of the list from the thread pointer. */
MMS_HIDDEN int64_t mms_thread_scope_offset(void);

#pragma clang assume_nonnull end

#endif
