/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef SWIFT_TASK_STORAGE_BPF_H
#define SWIFT_TASK_STORAGE_BPF_H

/*
 * Storage of Swift tasks (Swift's `Task`, not the kernel's), shared with a process that uses
 * SwiftTaskStorage of the MmapStorage library.
 *
 *	#include <linux/bpf.h>
 *	#include <swift_task_storage.bpf.h>
 *
 *	struct request {
 *		__u64 id;
 *		__u64 syscalls;
 *	};
 *
 *	SWIFT_TASK_STORAGE(requests, struct request, 4096);
 *
 *	SEC("tp_btf/sys_enter")
 *	int count_call(void *ctx)
 *	{
 *		struct request *request = swift_task_storage_get(requests);
 *
 *		if (request)
 *			__sync_fetch_and_add(&request->syscalls, 1);
 *		return 0;
 *	}
 *
 * Include <linux/bpf.h> or a vmlinux.h first. Needs Linux 5.11 (storage of kernel tasks), a license
 * compatible with the GPL, and a program that does not sleep; one that does calls
 * swift_task_storage_get() inside bpf_rcu_read_lock().
 */

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * The number of bindings of task-locals that a program reads: those of the Swift task and of its parents,
 * the latest first, of any task-local. Each child task counts as one more. A binding of the storage after
 * these is not found.
 */
#define SWIFT_TASK_STORAGE_BINDINGS 64

/* The maximum number of slots of SWIFT_TASK_STORAGE(). */
#define SWIFT_TASK_STORAGE_SLOTS (1 << 24)

/*
 * SWIFT_TASK_STORAGE(name, type, slots)
 *
 * Declares storage of Swift tasks: at most `slots` scopes of all processes together have a value of
 * `type` at the same time. The alignment of `type` is at most 32 bytes. Declares
 *
 *  - the map `name`: an array of slots, which user space maps (BPF_F_MMAPABLE);
 *  - the map `name`_processes: the registrations of processes, with the offsets of the current Swift task
 *    in their Swift runtimes. Only BPF programs write to it;
 *  - the program `name`_control, which is not attached: a process runs it to register itself.
 */
#define SWIFT_TASK_STORAGE(name, value_type, slots)				\
	_Static_assert((slots) > 0 && (slots) <= SWIFT_TASK_STORAGE_SLOTS,	\
		       "'" #name "' has too few or too many slots");		\
	_Static_assert(_Alignof(value_type) <= 32,				\
		       "the values of '" #name "' have an alignment of more than 32 bytes"); \
	struct __swift_task_slot_##name {					\
		__u64 owner;							\
		__u64 holder;							\
		__u64 task;							\
		__u64 binding;							\
		value_type value;						\
	} __attribute__((aligned(64)));						\
	struct {								\
		__uint(type, BPF_MAP_TYPE_ARRAY);				\
		__uint(map_flags, BPF_F_MMAPABLE);				\
		__uint(max_entries, slots);					\
		__type(key, __u32);						\
		__type(value, struct __swift_task_slot_##name);			\
	} name SEC(".maps");							\
	struct {								\
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);			\
		__uint(map_flags, BPF_F_NO_PREALLOC);				\
		__type(key, int);						\
		__type(value, struct __swift_task_process);			\
	} name##_processes SEC(".maps");					\
	static __always_inline __attribute__((unused))				\
	struct __swift_task_slot_##name *__swift_task_slot_get_##name(void)	\
	{									\
		struct __swift_task_slot_##name *slot;				\
		struct __swift_task_process *process;				\
		struct __swift_task_thread *thread;				\
		__u64 words[4] = {};						\
		__u64 task, tag;						\
										\
		thread = (void *)bpf_get_current_task_btf();			\
		process = bpf_task_storage_get(&name##_processes,		\
					       thread->group_leader, 0, 0);	\
		if (!process ||							\
		    !__swift_task_bindings(thread, process, words, &task))	\
			return 0;						\
		slot = bpf_map_lookup_elem(&name,				\
					   __swift_task_recent(process, task));	\
		if (slot && task && slot->task == task && slot->binding &&	\
		    slot->binding == (words[0] & ~7ull) &&			\
		    slot->owner == process->owner)				\
			return slot;						\
		if (!__swift_task_find(process, words))				\
			return 0;						\
		tag = words[0];							\
		words[0] &= SWIFT_TASK_STORAGE_SLOTS - 1;			\
		slot = bpf_map_lookup_elem(&name, (__u32 *)words);		\
		if (!slot || slot->owner != process->owner ||			\
		    slot->holder != tag)					\
			return 0;						\
		if (task && slot->task == task) {				\
			slot->binding = words[1];					\
			*__swift_task_recent(process, task) = words[0];		\
		}								\
		return slot;							\
	}									\
	static __always_inline __attribute__((unused))				\
	value_type *__swift_task_storage_get_##name(void)			\
	{									\
		struct __swift_task_slot_##name *slot;				\
										\
		slot = __swift_task_slot_get_##name();				\
		return slot ? &slot->value : 0;					\
	}									\
	static __always_inline __attribute__((unused))				\
	__u64 __swift_task_storage_token_##name(void)				\
	{									\
		struct __swift_task_slot_##name *slot;				\
										\
		slot = __swift_task_slot_get_##name();				\
		return slot ? slot->holder : 0;					\
	}									\
	static __always_inline __attribute__((unused))				\
	value_type *__swift_task_storage_find_##name(				\
		struct __swift_task_thread *thread, __u64 token)		\
	{									\
		struct __swift_task_slot_##name *slot;				\
		struct __swift_task_process *process;				\
		__u32 index = token & (SWIFT_TASK_STORAGE_SLOTS - 1);		\
										\
		process = bpf_task_storage_get(&name##_processes,		\
					       thread->group_leader, 0, 0);	\
		if (!process || !token ||					\
		    thread->self_exec_id != process->exec_id)			\
			return 0;						\
		slot = bpf_map_lookup_elem(&name, &index);			\
		if (!slot || slot->owner != process->owner ||			\
		    slot->holder != token)					\
			return 0;						\
		return &slot->value;						\
	}									\
	SEC("raw_tp")								\
	int name##_control(struct bpf_raw_tracepoint_args *arguments)		\
	{									\
		struct __swift_task_slot_##name *slot;				\
		struct __swift_task_process *process;				\
		struct __swift_task_thread *thread;				\
										\
		thread = (void *)bpf_get_current_task_btf();			\
		switch (arguments->args[0]) {					\
		case __SWIFT_TASK_OWNER_HIGH:					\
			return __swift_task_owner(thread) >> 32;		\
		case __SWIFT_TASK_OWNER_LOW:					\
			return __swift_task_owner(thread);			\
		case __SWIFT_TASK_REGISTER:					\
			process = bpf_task_storage_get(&name##_processes,	\
				thread->group_leader, 0,			\
				BPF_LOCAL_STORAGE_GET_F_CREATE);		\
			if (!process)						\
				return 0;					\
			__swift_task_register(thread, process, arguments);	\
			return 1;						\
		case __SWIFT_TASK_UNREGISTER:					\
			bpf_task_storage_delete(&name##_processes,		\
						thread->group_leader);		\
			return 1;						\
		case __SWIFT_TASK_CHECK:					\
			slot = __swift_task_slot_get_##name();			\
			if (!slot)						\
				return 1;					\
			return slot->holder == arguments->args[1] ? 2 : 3;	\
		case __SWIFT_TASK_UNREADABLE:					\
			process = bpf_task_storage_get(&name##_processes,	\
				thread->group_leader, 0, 0);			\
			if (!process)						\
				return 0;					\
			return process->unreadable > ~0u ? ~0u : process->unreadable; \
		}								\
		return 0;							\
	}									\
	extern int __swift_task_storage_##name##_is_declared

/*
 * swift_task_storage_get(name)
 *
 * Returns the value of the innermost scope (SwiftTaskStorage.withValue()) of the Swift task that runs on
 * the current thread. If no Swift task runs on it, returns the value of the innermost synchronous scope of
 * the thread. Returns NULL outside of any scope, in a scope for which no slot was free, in processes that
 * are not registered, in kernel threads of a process (io_uring), and if user memory cannot be read, for
 * example while the kernel moves it to a huge page. SwiftTaskStorage.unreadableCount() counts the latter.
 *
 * Threads that run child tasks of the same Swift task share the value. Use atomic operations.
 */
#define swift_task_storage_get(name) __swift_task_storage_get_##name()

/*
 * swift_task_storage_token(name), swift_task_storage_find(name, task, token)
 *
 * swift_task_storage_token() returns a token (__u64) of the scope whose value swift_task_storage_get()
 * returns, or 0 if that returns NULL. It has the same cost. swift_task_storage_find() returns the value for a
 * token of a thread in the process of `task`, or NULL after the scope has ended and after exec. `task` is a
 * trusted pointer.
 *
 * swift_task_storage_find() reads no user memory, so it also works for a thread that is not running: at
 * sched_switch, store the token for the previous thread, and find the value for the next one.
 */
#define swift_task_storage_token(name) __swift_task_storage_token_##name()
#define swift_task_storage_find(name, task, token)				\
	__swift_task_storage_find_##name((struct __swift_task_thread *)(task), (token))

/* Internal. Not for use in programs. */

enum {
	__SWIFT_TASK_OWNER_HIGH = 1,
	__SWIFT_TASK_OWNER_LOW = 2,
	__SWIFT_TASK_REGISTER = 3,
	__SWIFT_TASK_UNREGISTER = 4,
	__SWIFT_TASK_CHECK = 5,
	__SWIFT_TASK_UNREADABLE = 6,
};

#define __SWIFT_TASK_RECENT_BITS 6
#define __SWIFT_TASK_RECENT (1 << __SWIFT_TASK_RECENT_BITS)

/* Registration data of a process. Only owner and exec_id are trusted. */
struct __swift_task_process {
	__u64 owner;		/* owner of the process's slots */
	__u64 exec_id;		/* of the executable that registered */
	__u64 key;		/* second word of our bindings, after the link */
	__s64 task_word;	/* offset from the thread pointer: current Swift task */
	__s64 thread_word;	/* offset from the thread pointer: scopes of the thread */
	__u32 bindings;		/* offset in the Swift task: its latest binding */
	__u32 tag;		/* offset in a binding: our value; 24, or else 16 */
	__u64 unreadable;	/* lookups for which user memory could not be read */
	__u32 recent[__SWIFT_TASK_RECENT];	/* hash of the Swift task: a slot that may be its own */
};

/* The fields of all processors. libbpf finds the one that the kernel has when the object is loaded. */
struct thread_struct___swift_task {
	unsigned long fsbase;		/* x86-64 */
	struct {
		unsigned long tp_value;
	} uw;				/* arm64 */
} __attribute__((preserve_access_index));

struct task_struct___swift_task {
	unsigned int flags;
	int tgid;
	__u64 start_time;
	__u64 self_exec_id;
	struct task_struct *group_leader;
	struct thread_struct___swift_task thread;
} __attribute__((preserve_access_index));

#define __swift_task_thread task_struct___swift_task

/*
 * PF_IO_WORKER and PF_USER_WORKER: a kernel thread of the process, such as one of io_uring. Its thread
 * pointer is that of the thread that created it, which may serve another request meanwhile.
 */
#define __SWIFT_TASK_KERNEL_THREAD 0x4010

/*
 * The thread pointer. On arm64, the kernel stores it when a thread is created with one, and when it is switched
 * out. The first thread of a process has none, or after exec that of the previous program, until it is switched out.
 */
static __always_inline __attribute__((unused))
__u64 __swift_task_thread_pointer(struct __swift_task_thread *thread)
{
	if (bpf_core_field_exists(thread->thread.fsbase))
		return thread->thread.fsbase;
	return thread->thread.uw.tp_value;
}

/*
 * The process id, and the lower half of the sum of start time (in nanoseconds) and exec id. Processes that have
 * the same id one after the other have different owners, except with a probability of 2^-32. After exec, a
 * process is another owner.
 */
static __always_inline __attribute__((unused))
__u64 __swift_task_owner(struct __swift_task_thread *thread)
{
	struct __swift_task_thread *leader = (void *)thread->group_leader;

	return (__u64)thread->tgid << 32 | (__u32)(leader->start_time + thread->self_exec_id);
}

static __always_inline __attribute__((unused))
void __swift_task_register(struct __swift_task_thread *thread,
			   struct __swift_task_process *process,
			   struct bpf_raw_tracepoint_args *arguments)
{
	process->owner = __swift_task_owner(thread);
	process->exec_id = thread->self_exec_id;
	process->key = arguments->args[1];
	process->task_word = arguments->args[2];
	process->thread_word = arguments->args[3];
	process->bindings = arguments->args[4];
	process->tag = arguments->args[5];
}

/* Counts a lookup for which user memory could not be read. Returns false. */
static __always_inline __attribute__((unused))
int __swift_task_unreadable(struct __swift_task_process *process)
{
	__sync_fetch_and_add(&process->unreadable, 1);
	return 0;
}

/*
 * Reads the current Swift task, or 0 if there is none. Sets the first word to the link to its
 * latest binding, or without a Swift task to the thread's latest scope. Returns false if user
 * memory cannot be read.
 */
static __always_inline __attribute__((unused))
int __swift_task_bindings(struct __swift_task_thread *thread,
			  struct __swift_task_process *process, __u64 *words, __u64 *task)
{
	__u64 pointer = __swift_task_thread_pointer(thread);

	if (thread->self_exec_id != process->exec_id || thread->flags & __SWIFT_TASK_KERNEL_THREAD)
		return 0;
	/* A thread that was created without a thread pointer runs no Swift task. */
	if (bpf_probe_read_user(words, sizeof(*words), (void *)(pointer + process->task_word)))
		return pointer ? __swift_task_unreadable(process) : 0;
	*task = words[0];
	pointer = *task ? *task + process->bindings : pointer + process->thread_word;
	if (bpf_probe_read_user(words, sizeof(*words), (void *)pointer))
		return __swift_task_unreadable(process);
	return 1;
}

static __always_inline __attribute__((unused))
__u32 *__swift_task_recent(struct __swift_task_process *process, __u64 task)
{
	barrier_var(process);
	barrier_var(task);
	return process->recent + (task * 0x9e3779b97f4a7c15ull >> (64 - __SWIFT_TASK_RECENT_BITS));
}

/*
 * Finds our latest binding. Sets the words to its tag, which is not 0, and its address. The low
 * bits of a link: bit 2 marks an item without a value; with bit 1, the items after it are ignored.
 *
 * A program with up to 48 bytes of stack uses the kernel's stack (Linux 6.13), where the kernel
 * checks the destination of a copy faster. Values are therefore computed again instead of kept.
 */
static __always_inline __attribute__((unused))
int __swift_task_find(struct __swift_task_process *process, __u64 *words)
{
	__u64 place;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < SWIFT_TASK_STORAGE_BINDINGS; i++) {
		place = words[0] & ~7ull;
		if (!place)
			return 0;
		/* Not one call with a variable size: Linux 6.1 loses its bounds on the stack. */
		if (process->tag == 3 * sizeof(*words) ?
		    bpf_probe_read_user(words, 4 * sizeof(*words), (void *)place) :
		    bpf_probe_read_user(words, 3 * sizeof(*words), (void *)place)) {
			/* The last words of the last page: without a value, so only the link is used. */
			words[1] = 0;
			if (bpf_probe_read_user(words, sizeof(*words), (void *)place))
				return __swift_task_unreadable(process);
		}
		if (words[1] == process->key && !(words[0] & 4)) {
			words[0] = words[process->tag == 3 * sizeof(*words) ? 3 : 2];
			words[1] = place;
			return words[0] != 0;
		}
		if ((words[0] & 6) == 6)
			return 0;
	}
	return 0;
}

#endif
