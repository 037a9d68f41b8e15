/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef MMAP_STORAGE_BPF_H
#define MMAP_STORAGE_BPF_H

/*
 * Task-local storage that a BPF program shares with the threads of a process that uses the
 * MmapStorage library.
 *
 *	#include <linux/bpf.h>
 *	#include <mmap_storage.bpf.h>
 *
 *	struct request_tag {
 *		__u64 request_id;
 *		__u64 calls;
 *	};
 *
 *	TASK_STORAGE(request_tags, struct request_tag);
 *
 *	SEC("tp_btf/sys_enter")
 *	int count_call(void *ctx)
 *	{
 *		struct request_tag *tag;
 *
 *		tag = task_storage_get(request_tags, bpf_get_current_task_btf());
 *		if (tag)
 *			tag->calls++;
 *		return 0;
 *	}
 *
 * Any loader can load such an object on any kernel that has task storage: as compiled, each value
 * is an ordinary element of the map. When the library loads the object, it changes the map for the best
 * backend of the running kernel.
 *
 * Include <linux/bpf.h> or a vmlinux.h first. A name may be declared once in a file, at file
 * scope. Static functions of the file may use it as well as programs.
 */

#include <bpf/bpf_helpers.h>

/* The largest value that fits into a user page: the smallest page size of Linux. */
#define TASK_STORAGE_PAGE_SIZE 4096

/*
 * TASK_STORAGE(name, type)
 *
 * Declares a task storage map. Each task has a value of `type`, of up to about 64 KiB (Linux 7.3: 8 KiB without
 * BPF_F_MMAPABLE, 32 KiB with it). User space accesses it in one of these ways:
 *
 *  - Kernel with BPF_F_MMAPABLE for task storage: each thread maps its own value.
 *  - Linux 6.13 and later: the value is in a page that the thread registered, if `type` has at
 *    most TASK_STORAGE_PAGE_SIZE bytes.
 *  - Any other kernel: the value is copied with system calls.
 *
 * With user pages, a task has a value only after its own thread's first access. Until then, and
 * for tasks that never access it, task_storage_get_or_create() returns NULL as task_storage_get()
 * does. A program that keeps data for other tasks as well uses TASK_STORAGE_DIRECT().
 */
#define TASK_STORAGE(name, type)						\
	__TASK_STORAGE_MAP(any, name, type);					\
	__TASK_STORAGE_ELEMENT(name, type);					\
	/* Set by the library before loading; constant to the verifier. */	\
	struct __task_storage_placement_##name {				\
		__u8 in_user_page;						\
		struct __task_storage_page_##name page[0];			\
		struct __task_storage_element_##name element[0];		\
	};									\
	static const volatile struct __task_storage_placement_##name		\
		__task_storage_placement_##name = {};				\
	__TASK_STORAGE_FUNCTION(type *, get, name, __u64 flags)			\
	{									\
		if (sizeof(type) <= TASK_STORAGE_PAGE_SIZE &&			\
		    __task_storage_placement_##name.in_user_page)		\
			__TASK_STORAGE_USER_PAGE_GET(name);			\
		return bpf_task_storage_get(&name, task, 0, flags);		\
	}									\
	__TASK_STORAGE_DELETE(name)

/*
 * TASK_STORAGE_DIRECT(name, type)
 *
 * As TASK_STORAGE(), but never in user pages: a program can create a value for any task on each
 * kernel.
 */
#define TASK_STORAGE_DIRECT(name, type)						\
	__TASK_STORAGE_MAP(direct, name, type);					\
	__TASK_STORAGE_FUNCTION(type *, get, name, __u64 flags)			\
	{									\
		return bpf_task_storage_get(&name, task, 0, flags);		\
	}									\
	__TASK_STORAGE_DELETE(name)

/*
 * TASK_STORAGE_USER_PAGE(name, type)
 *
 * As TASK_STORAGE(), but always in user pages: loads on Linux 6.13 and later only, and `type` has
 * at most TASK_STORAGE_PAGE_SIZE bytes.
 */
#define TASK_STORAGE_USER_PAGE(name, type)					\
	_Static_assert(sizeof(type) <= TASK_STORAGE_PAGE_SIZE,			\
		       "'" #type "' does not fit into a page; use TASK_STORAGE()"); \
	__TASK_STORAGE_ELEMENT(name, type);					\
	__TASK_STORAGE_MAP(only_page, name, struct __task_storage_element_##name); \
	__TASK_STORAGE_FUNCTION(type *, get, name, __u64 flags)			\
	{									\
		(void)flags;							\
		__TASK_STORAGE_USER_PAGE_GET(name);				\
	}									\
	__TASK_STORAGE_DELETE(name)

/*
 * RING_BUFFER(name, type, size)
 *
 * Declares a ring buffer map (Linux 5.8) of `size` bytes, a power of two and a multiple of the page
 * size, whose records are of `type`. The code that BPFPlugin generates reads them as values of this
 * type. Programs use bpf_ringbuf_reserve(&name, sizeof(type), 0) and bpf_ringbuf_submit().
 */
#define RING_BUFFER(name, record_type, size)					\
	struct __ring_buffer_##name {						\
		/* libbpf reads the number of elements only. */			\
		record_type (*type)[BPF_MAP_TYPE_RINGBUF];			\
		__uint(max_entries, size);					\
	} name SEC(".maps")

/*
 * task_storage_get(name, task)
 *
 * Returns the task's value in the map `name`, or NULL if it has none. Before Linux 6.2, also returns NULL
 * while an access to task storage is interrupted or preempted on the same CPU. `task` is a trusted pointer,
 * such as from bpf_get_current_task_btf(). Costs a call of bpf_task_storage_get(). For a map declared with
 * TASK_STORAGE(), it takes two more instructions, and with user pages a load and a test of the page's
 * address.
 */
#define task_storage_get(name, task) __task_storage_get_##name(task, 0)

/*
 * task_storage_get_or_create(name, task)
 *
 * The same, and creates the value, all zero, if there is none. Returns NULL if the kernel cannot
 * create it: if it has no memory, in some tracing contexts, and for a task that is exiting. With user
 * pages, returns NULL if the task's own thread has not accessed the value.
 */
#define task_storage_get_or_create(name, task)					\
	__task_storage_get_##name(task, BPF_LOCAL_STORAGE_GET_F_CREATE)

/*
 * task_storage_delete(name, task)
 *
 * Deletes the task's value. Returns 0, or -ENOENT if it had none. A thread that is attached keeps its
 * bytes, which programs no longer see.
 */
#define task_storage_delete(name, task) __task_storage_delete_##name(task)

/*
 * Internal. The library recognizes a map by the name of its structure type, and the types
 * __task_storage_element_NAME and the variable __task_storage_placement_NAME by their names.
 */

#ifndef __uptr
#define __uptr __attribute__((btf_type_tag("uptr")))
#endif

#define __TASK_STORAGE_MAP(kind, name, value_type)				\
	struct __task_storage_##kind##_##name {					\
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);			\
		__uint(map_flags, BPF_F_NO_PREALLOC);				\
		__type(key, int);						\
		__type(value, value_type);					\
	} name SEC(".maps")

/* A __uptr points to a structure, so the value has one around it. */
#define __TASK_STORAGE_ELEMENT(name, type)					\
	struct __task_storage_page_##name {					\
		type value;							\
	};									\
	struct __task_storage_element_##name {					\
		struct __task_storage_page_##name __uptr *page;			\
	}

#define __TASK_STORAGE_USER_PAGE_GET(name)					\
	do {									\
		struct __task_storage_element_##name *element;			\
										\
		element = bpf_task_storage_get(&name, task, 0, 0);		\
		return element && element->page ? &element->page->value : 0;	\
	} while (0)

#define __TASK_STORAGE_FUNCTION(result, verb, name, ...)			\
	static __always_inline __attribute__((unused))				\
	result __task_storage_##verb##_##name(struct task_struct *task, ##__VA_ARGS__)

/* The semicolon after the macro ends the last declaration. */
#define __TASK_STORAGE_DELETE(name)						\
	__TASK_STORAGE_FUNCTION(long, delete, name)				\
	{									\
		return bpf_task_storage_delete(&name, task);			\
	}									\
	extern int __task_storage_##name##_is_declared

#endif
