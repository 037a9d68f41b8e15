#ifndef MMS_ACCESS_H
#define MMS_ACCESS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Single accesses to memory that a BPF program changes behind the compiler's back. The plain ones
 * are volatile: the compiler does each exactly once, in one piece for the widths up to the
 * machine word. The atomic ones pair with __sync_* and __atomic_* on the same bytes in BPF.
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

/* Makes the compiler finish all accesses before, and forget what it knows of memory. */
static inline void mms_compiler_barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

/*
 * Copies bytes that others may change. The compiler cannot tell that "to" has them afterwards, so it
 * does not load any of them from "from" once more.
 */
static inline void mms_copy_once(void *_Nonnull to, const void *_Nonnull from, size_t size)
{
	memcpy(to, from, size);
	__asm__ volatile("" : : "r"(to) : "memory");
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
