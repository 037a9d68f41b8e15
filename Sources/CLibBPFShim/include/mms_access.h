// SPDX-License-Identifier: Apache-2.0
#ifndef MMS_ACCESS_H
#define MMS_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Single accesses to memory that a BPF program changes concurrently. The plain ones are volatile:
 * the compiler performs each exactly once, as one access for widths up to the machine word. The
 * atomic ones pair with __sync_* and __atomic_* on the same bytes in BPF.
 */

#define MMS_DEFINE_ACCESS(bits, type)								\
static inline type mms_load##bits(const void *_Nonnull address)					\
{												\
	return *(const volatile type *)address;							\
}												\
												\
static inline void mms_store##bits(void *_Nonnull address, type value)				\
{												\
	*(volatile type *)address = value;							\
}												\
												\
static inline type mms_load_acquire##bits(const void *_Nonnull address)				\
{												\
	return __atomic_load_n((const volatile type *)address, __ATOMIC_ACQUIRE);		\
}												\
												\
static inline type mms_load_seq_cst##bits(const void *_Nonnull address)				\
{												\
	return __atomic_load_n((const volatile type *)address, __ATOMIC_SEQ_CST);		\
}												\
												\
static inline void mms_store_release##bits(void *_Nonnull address, type value)			\
{												\
	__atomic_store_n((volatile type *)address, value, __ATOMIC_RELEASE);			\
}												\
												\
static inline void mms_store_seq_cst##bits(void *_Nonnull address, type value)			\
{												\
	__atomic_store_n((volatile type *)address, value, __ATOMIC_SEQ_CST);			\
}												\
												\
static inline type mms_fetch_add##bits(void *_Nonnull address, type value)			\
{												\
	return __atomic_fetch_add((volatile type *)address, value, __ATOMIC_SEQ_CST);		\
}												\
												\
static inline type mms_fetch_and##bits(void *_Nonnull address, type value)			\
{												\
	return __atomic_fetch_and((volatile type *)address, value, __ATOMIC_SEQ_CST);		\
}												\
												\
static inline type mms_fetch_or##bits(void *_Nonnull address, type value)			\
{												\
	return __atomic_fetch_or((volatile type *)address, value, __ATOMIC_SEQ_CST);		\
}												\
												\
static inline type mms_exchange##bits(void *_Nonnull address, type value)			\
{												\
	return __atomic_exchange_n((volatile type *)address, value, __ATOMIC_SEQ_CST);		\
}												\
												\
static inline _Bool mms_compare_exchange##bits(void *_Nonnull address, type *_Nonnull expected,	\
					       type desired)					\
{												\
	return __atomic_compare_exchange_n((volatile type *)address, expected, desired, 0,	\
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);			\
}

MMS_DEFINE_ACCESS(8, uint8_t)
MMS_DEFINE_ACCESS(16, uint16_t)
MMS_DEFINE_ACCESS(32, uint32_t)
MMS_DEFINE_ACCESS(64, uint64_t)

#undef MMS_DEFINE_ACCESS

/* Compiler barrier: no access moves across it, and no value loaded before it is used after it. */
static inline void mms_compiler_barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

/*
 * Copies bytes that other threads or programs may change. Accesses each byte once in "from" and
 * once in "to", in pieces that do not divide an aligned field. Processors access 16 bytes at once
 * or as two times 8. The compiler cannot assume that "to" equals "from" afterwards, so it does not
 * load from "from" again.
 */
static inline void mms_copy_once(void *_Nonnull to, const void *_Nonnull from, size_t size)
{
	typedef uint64_t sixteen __attribute__((vector_size(16), aligned(1), may_alias));
	typedef uint64_t eight __attribute__((aligned(1), may_alias));
	typedef uint32_t four __attribute__((aligned(1), may_alias));
	typedef uint16_t two __attribute__((aligned(1), may_alias));
	char *target = (char *)to;
	const char *source = (const char *)from;
	size_t at = 0;

#define MMS_COPY_PIECE(type)										\
	do {											\
		*(volatile type *)(target + at) = *(const volatile type *)(source + at);	\
		at += sizeof(type);								\
	} while (0)

	while (size - at >= 16)
		MMS_COPY_PIECE(sixteen);
	if (size & 8)
		MMS_COPY_PIECE(eight);
	if (size & 4)
		MMS_COPY_PIECE(four);
	if (size & 2)
		MMS_COPY_PIECE(two);
	if (size & 1)
		MMS_COPY_PIECE(uint8_t);
#undef MMS_COPY_PIECE
	__asm__ volatile("" : : "r"(to) : "memory");
}

/*
 * Set and never cleared. True if a described type contains a bool of a C union, which is not
 * visible in the type's bit patterns.
 */
extern bool mms_union_has_bool;

static inline bool mms_unions_have_bools(void)
{
	return __atomic_load_n(&mms_union_has_bool, __ATOMIC_RELAXED);
}

static inline void mms_set_unions_have_bools(void)
{
	__atomic_store_n(&mms_union_has_bool, true, __ATOMIC_RELAXED);
}

static inline void mms_fence_acquire(void)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

static inline void mms_fence_release(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

#endif
