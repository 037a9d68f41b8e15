// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "mms_swift_task.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *swift_task_getCurrent(void);
extern __attribute__((swiftcall)) void swift_task_localValuePush(const void *key, void *value,
								 const void *type);
extern __attribute__((swiftcall)) void swift_task_localValuePop(void);
extern const size_t _swift_concurrency_debug_asyncTaskSize __attribute__((weak));
extern const uint32_t _swift_concurrency_debug_internal_layout_version __attribute__((weak));

static uint64_t thread_pointer(void)
{
	uint64_t pointer;

#if defined(__x86_64__)
	__asm__("movq %%fs:0, %0" : "=r"(pointer));
#elif defined(__aarch64__)
	__asm__("mrs %0, tpidr_el0" : "=r"(pointer));
#else
	pointer = 0;
#endif
	return pointer;
}

void *mms_swift_task_current(void)
{
	return swift_task_getCurrent();
}

void mms_task_local_push(const void *key, uint64_t tag, void *reference, const void *type)
{
	struct {
		uint64_t tag;
		void *reference;
	} value = { tag, reference };

	swift_task_localValuePush(key, &value, type);
}

void mms_task_local_pop(void)
{
	swift_task_localValuePop();
}

int64_t mms_swift_layout_version(void)
{
	const uint32_t *version = &_swift_concurrency_debug_internal_layout_version;

	return version ? (int64_t)*version : -1;
}

void mms_swift_runtime_path(char *path, size_t size)
{
	Dl_info info;
	const char *found = "";

	if (!size)
		return;
	if (dladdr((void *)swift_task_getCurrent, &info) && info.dli_fname)
		found = info.dli_fname;
	strncpy(path, found, size - 1);
	path[size - 1] = 0;
}

/* The thread-local memory of the module that contains a function. */
struct thread_memory {
	uintptr_t function;
	char *start;
	size_t size;
};

static int find_thread_memory(struct dl_phdr_info *info, size_t size, void *context)
{
	struct thread_memory *memory = context;
	const ElfW(Phdr) *thread_local_segment = NULL;
	bool has_function = false;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type == PT_TLS)
			thread_local_segment = segment;
		if (segment->p_type == PT_LOAD &&
		    memory->function - (info->dlpi_addr + segment->p_vaddr) < segment->p_memsz)
			has_function = true;
	}
	if (!has_function)
		return 0;
	if (thread_local_segment && info->dlpi_tls_data) {
		memory->start = info->dlpi_tls_data;
		memory->size = thread_local_segment->p_memsz;
	}
	return 1;
}

long mms_swift_find_task_words(int64_t *offsets, size_t capacity)
{
	struct thread_memory memory = { .function = (uintptr_t)swift_task_getCurrent };
	void *task = swift_task_getCurrent();
	size_t found = 0;

	dl_iterate_phdr(find_thread_memory, &memory);
	if (!memory.start)
		return -ENOENT;
	for (size_t at = 0; at + sizeof(task) <= memory.size; at += sizeof(task)) {
		if (*(void *volatile *)(memory.start + at) != task)
			continue;
		if (found < capacity)
			offsets[found] = (int64_t)((uint64_t)memory.start + at - thread_pointer());
		found++;
	}
	return (long)found;
}

/* Reads memory that may not be mapped. */
static bool peek(const int pipe[2], uint64_t address, void *to, size_t size)
{
	ssize_t written = write(pipe[1], (const void *)address, size);
	char rest[64];

	if (written <= 0)
		return false;
	if ((size_t)written != size) {
		(void)!read(pipe[0], rest, sizeof(rest));
		return false;
	}
	return read(pipe[0], to, size) == (ssize_t)size;
}

long mms_swift_find_bindings(uint64_t key, uint64_t tag, struct mms_swift_binding *found,
			     size_t capacity)
{
	const size_t *exported = &_swift_concurrency_debug_asyncTaskSize;
	char *task = swift_task_getCurrent();
	size_t task_size = exported ? *exported : 256;
	size_t count = 0;
	int pipe[2];

	if (!task)
		return -EAGAIN;
	if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	for (size_t at = 0; at + 8 <= task_size; at += 8) {
		uint64_t address = *(volatile uint64_t *)(task + at) & ~7ull;
		uint64_t words[8] = { 0 };

		if (address < 4096)
			continue;
		/* A binding with a small value may be shorter. */
		for (size_t size = sizeof(words); size >= 32; size -= 8)
			if (peek(pipe, address, words, size))
				break;
		if (words[1] != key)
			continue;
		for (uint32_t word = 2; word < 8; word++) {
			if (words[word] != tag)
				continue;
			if (count < capacity)
				found[count] = (struct mms_swift_binding){ (uint32_t)at, word * 8 };
			count++;
		}
	}
	close(pipe[0]);
	close(pipe[1]);
	return (long)count;
}

static _Thread_local uint64_t thread_scopes __attribute__((tls_model("initial-exec")));

void mms_thread_scope_enter(struct mms_thread_scope *scope, uint64_t key, uint64_t tag)
{
	scope->link = thread_scopes;
	scope->key = key;
	for (size_t word = 0; word < sizeof(scope->tag) / sizeof(*scope->tag); word++)
		scope->tag[word] = tag;
	/* A program that interrupts the thread finds the complete scope or none. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*(volatile uint64_t *)&thread_scopes = (uint64_t)scope;
}

void mms_thread_scope_leave(struct mms_thread_scope *scope)
{
	*(volatile uint64_t *)&thread_scopes = scope->link;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

int64_t mms_thread_scope_offset(void)
{
	return (int64_t)((uint64_t)&thread_scopes - thread_pointer());
}
