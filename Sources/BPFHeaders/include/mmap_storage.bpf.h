/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef MMAP_STORAGE_BPF_H
#define MMAP_STORAGE_BPF_H

/*
 * Task-local storage that a BPF program shares with the threads of a process that use it through
 * the MmapStorage library. The same object file serves each of the library's backends: which one
 * is decided when the library opens the object.
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
 * Include <linux/bpf.h> or a vmlinux.h first. A name may be declared once in a file, at file
 * scope; `static` functions of the file may use it as well as programs.
 */

#include <bpf/bpf_helpers.h>

/* The largest value that fits a user page: the smallest page that Linux has. */
#define TASK_STORAGE_PAGE_SIZE 4096

/*
 * TASK_STORAGE(name, type)
 *
 * Declares a map of task storage: each task has a value of `type`, of up to about 64 KiB. How user
 * space reaches it:
 *
 *  - Kernel with BPF_F_MMAPABLE for task storage: each thread maps its own value.
 *  - Linux 6.13 and later: the value lies in a page that the thread registered, if `type` has no
 *    more than TASK_STORAGE_PAGE_SIZE bytes.
 *  - Any other: the value is copied with system calls.
 *
 * With user pages a task has a value only from the first touch by its own thread on. Until then, and
 * for tasks that never touch it, task_storage_get_or_create() gives NULL as task_storage_get()
 * does. A program that has to keep something for tasks that do not take part declares its map
 * with TASK_STORAGE_DIRECT().
 *
 * The map `name` is what libbpf and other loaders see. Beside it is a map `name`_user_page, which
 * a loader that does not know of user pages need not create (bpf_map__set_autocreate()).
 */
#define TASK_STORAGE(name, type)						\
	__TASK_STORAGE_MAP(name, type, BPF_F_NO_PREALLOC | BPF_F_MMAPABLE);	\
	__TASK_STORAGE_USER_PAGE_MAP(name##_user_page, name, type);		\
	__TASK_STORAGE_FUNCTION(type *, get, name, __u64 create)		\
	{									\
		void *map;							\
										\
		__TASK_STORAGE_OPAQUE(create);					\
		__TASK_STORAGE_SITE(type, create, user_page);			\
		__TASK_STORAGE_MAP_HERE(map, name);				\
		return bpf_task_storage_get(map, task, 0, create);		\
user_page:									\
		__TASK_STORAGE_MAP_HERE(map, name##_user_page);			\
		__TASK_STORAGE_USER_PAGE_GET(map, name);			\
	}									\
	__TASK_STORAGE_FUNCTION(long, delete, name, __u64 zero)			\
	{									\
		void *map;							\
										\
		__TASK_STORAGE_OPAQUE(zero);					\
		__TASK_STORAGE_SITE(type, zero, user_page);			\
		__TASK_STORAGE_MAP_HERE(map, name);				\
		return bpf_task_storage_delete(map, task);			\
user_page:									\
		__TASK_STORAGE_MAP_HERE(map, name##_user_page);			\
		return bpf_task_storage_delete(map, task);			\
	}									\
	__TASK_STORAGE_END(name)

/*
 * TASK_STORAGE_DIRECT(name, type)
 *
 * As TASK_STORAGE(), but never in user pages: the value is the map's own on each kernel, so a
 * program can create one for any task.
 */
#define TASK_STORAGE_DIRECT(name, type)						\
	__TASK_STORAGE_MAP(name, type, BPF_F_NO_PREALLOC | BPF_F_MMAPABLE);	\
	__TASK_STORAGE_FUNCTION(type *, get, name, __u64 create)		\
	{									\
		return bpf_task_storage_get(&name, task, 0, create);		\
	}									\
	__TASK_STORAGE_FUNCTION(long, delete, name, __u64 zero)			\
	{									\
		(void)zero;							\
		return bpf_task_storage_delete(&name, task);			\
	}									\
	__TASK_STORAGE_END(name)

/*
 * TASK_STORAGE_USER_PAGE(name, type)
 *
 * As TASK_STORAGE(), but always in user pages: loads on Linux 6.13 and later only, and `type` has
 * no more than TASK_STORAGE_PAGE_SIZE bytes.
 */
#define TASK_STORAGE_USER_PAGE(name, type)					\
	_Static_assert(sizeof(type) <= TASK_STORAGE_PAGE_SIZE,			\
		       "'" #type "' does not fit a page; use TASK_STORAGE()");	\
	__TASK_STORAGE_USER_PAGE_MAP(name, name, type);				\
	__TASK_STORAGE_FUNCTION(type *, get, name, __u64 create)		\
	{									\
		(void)create;							\
		__TASK_STORAGE_USER_PAGE_GET(&name, name);			\
	}									\
	__TASK_STORAGE_FUNCTION(long, delete, name, __u64 zero)			\
	{									\
		(void)zero;							\
		return bpf_task_storage_delete(&name, task);			\
	}									\
	__TASK_STORAGE_END(name)

/*
 * task_storage_get(name, task)
 *
 * The task's value in the map `name`, or NULL if it has none. `task` is a trusted pointer: from
 * bpf_get_current_task_btf(), say. Costs one bpf_task_storage_get() and not an instruction more;
 * with user pages, a load of the page's address and a test of it besides.
 */
#define task_storage_get(name, task) __task_storage_get_##name(task, 0)

/*
 * task_storage_get_or_create(name, task)
 *
 * The same, and creates the value, all zero, if there is none. NULL if the kernel cannot: without
 * memory, in some contexts of tracing, for a task that is exiting; with user pages always, if the
 * task's own thread has not made one.
 */
#define task_storage_get_or_create(name, task)					\
	__task_storage_get_##name(task, BPF_LOCAL_STORAGE_GET_F_CREATE)

/*
 * task_storage_delete(name, task)
 *
 * Removes the task's value. 0, or -ENOENT if it had none. A thread that is attached keeps its bytes,
 * which the program does not see any more.
 */
#define task_storage_delete(name, task) __task_storage_delete_##name(task, 0)

/* What follows is not for programs. */

/*
 * A jump that is never taken, as the verifier knows: the register holds 0 or 1. It is gone when the
 * program is loaded, with what it leads to. To use user pages, the library turns JEQ with this
 * number into JNE, which is always taken, before it opens the object. The number of the register
 * costs nothing, as bpf_task_storage_get() wants it in one anyway; that it is opaque keeps the
 * compiler from deciding the jump by itself, or loading it twice.
 */
#define __TASK_STORAGE_NEVER 0x6d6d6170

#define __TASK_STORAGE_SITE(type, register, label)				\
	if (sizeof(type) <= TASK_STORAGE_PAGE_SIZE)				\
		asm goto("if %0 == %1 goto %l[" #label "]"			\
			 :: "r"(register), "i"(__TASK_STORAGE_NEVER) :: label)

#define __TASK_STORAGE_OPAQUE(number)						\
	do {									\
		if (number)							\
			asm volatile("%0 = 1" : "=r"(number));			\
		else								\
			asm volatile("%0 = 0" : "=r"(number));			\
	} while (0)

/*
 * The address of a map, loaded here and nowhere else: only one of the two maps is created, and the
 * compiler would as soon load an address before the jump as after it.
 */
#define __TASK_STORAGE_MAP_HERE(register, name)					\
	asm volatile("%0 = %1 ll" : "=r"(register) : "i"(&name))

#ifndef __uptr
#define __uptr __attribute__((btf_type_tag("uptr")))
#endif

#define __TASK_STORAGE_MAP(name, value_type, flags)				\
	struct {								\
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);			\
		__uint(map_flags, flags);					\
		__type(key, int);						\
		__type(value, value_type);					\
	} name SEC(".maps")

/* A __uptr points to a structure, so the value has one around it. */
#define __TASK_STORAGE_USER_PAGE_MAP(map_name, name, type)			\
	struct __task_storage_page_##name {					\
		type value;							\
	};									\
	struct __task_storage_user_page_##name {				\
		struct __task_storage_page_##name __uptr *page;			\
	};									\
	__TASK_STORAGE_MAP(map_name, struct __task_storage_user_page_##name,	\
			   BPF_F_NO_PREALLOC)

#define __TASK_STORAGE_USER_PAGE_GET(map, name)					\
	do {									\
		struct __task_storage_user_page_##name *element;		\
										\
		element = bpf_task_storage_get(map, task, 0, 0);		\
		return element && element->page ? &element->page->value : 0;	\
	} while (0)

#define __TASK_STORAGE_FUNCTION(result, verb, name, parameter)			\
	static __always_inline __attribute__((unused))				\
	result __task_storage_##verb##_##name(struct task_struct *task, parameter)

/* Takes the semicolon after the macro. */
#define __TASK_STORAGE_END(name) extern int __task_storage_##name##_is_declared

#endif
