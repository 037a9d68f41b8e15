#ifndef MMS_BTF_H
#define MMS_BTF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reading BTF through libbpf. Every id and index is checked; a bad one gives -EINVAL. */

struct btf;

#pragma clang assume_nonnull begin

enum mms_btf_kind {
	MMS_BTF_VOID = 0,
	MMS_BTF_INT = 1,
	MMS_BTF_PTR = 2,
	MMS_BTF_ARRAY = 3,
	MMS_BTF_STRUCT = 4,
	MMS_BTF_UNION = 5,
	MMS_BTF_ENUM = 6,
	MMS_BTF_FWD = 7,
	MMS_BTF_TYPEDEF = 8,
	MMS_BTF_VOLATILE = 9,
	MMS_BTF_CONST = 10,
	MMS_BTF_RESTRICT = 11,
	MMS_BTF_FUNC = 12,
	MMS_BTF_FUNC_PROTO = 13,
	MMS_BTF_VAR = 14,
	MMS_BTF_DATASEC = 15,
	MMS_BTF_FLOAT = 16,
	MMS_BTF_DECL_TAG = 17,
	MMS_BTF_TYPE_TAG = 18,
	MMS_BTF_ENUM64 = 19,
};

struct mms_btf_type {
	const char *_Nullable name;	/* empty for an anonymous type; lives as long as the BTF */
	uint32_t kind;
	bool kind_flag;
	uint32_t count;		/* members, variables; elements of an array */
	uint32_t size;		/* bytes, of the kinds that have a size */
	uint32_t type;		/* what a reference refers to; an array's element */
	bool int_signed;
	bool int_bool;
	bool int_partial;	/* a bit field in the encoding without kind flag */
};

struct mms_btf_member {
	const char *_Nullable name;
	uint32_t type;
	uint32_t bit_offset;
	uint32_t bit_size;	/* 0 unless it is a bit field */
};

struct mms_btf_variable {
	const char *_Nullable name;
	uint32_t type;
	uint32_t offset;
	uint32_t size;
	bool is_static;
	bool is_extern;
};

/* The number of types, void included: ids are below it. */
uint32_t mms_btf_type_count(const struct btf *btf);
int mms_btf_type(const struct btf *btf, uint32_t id, struct mms_btf_type *type);
int mms_btf_member(const struct btf *btf, uint32_t id, uint32_t index,
		   struct mms_btf_member *member);
int mms_btf_variable(const struct btf *btf, uint32_t section, uint32_t index,
		     struct mms_btf_variable *variable);

int mms_btf_from_kernel(uint32_t id, struct btf *_Nullable *_Nonnull btf);
int mms_btf_from_bytes(const void *bytes, uint32_t size, struct btf *_Nullable *_Nonnull btf);
void mms_btf_free(struct btf *btf);

#pragma clang assume_nonnull end

#endif
