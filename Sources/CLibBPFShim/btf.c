#include "mms_btf.h"

#include <errno.h>
#include <string.h>

#include <bpf/btf.h>

_Static_assert(MMS_BTF_DATASEC == BTF_KIND_DATASEC, "kinds are the kernel's");
_Static_assert(MMS_BTF_ENUM64 == BTF_KIND_ENUM64, "kinds are the kernel's");

uint32_t mms_btf_type_count(const struct btf *btf)
{
	return btf__type_cnt(btf);
}

int mms_btf_type(const struct btf *btf, uint32_t id, struct mms_btf_type *type)
{
	const struct btf_type *from = btf__type_by_id(btf, id);

	if (!from)
		return -EINVAL;
	*type = (struct mms_btf_type){
		.name = btf__name_by_offset(btf, from->name_off),
		.kind = btf_kind(from),
		.kind_flag = btf_kflag(from),
		.count = btf_vlen(from),
	};
	if (!type->name)
		return -EINVAL;
	switch (type->kind) {
	case BTF_KIND_INT:
		type->size = from->size;
		type->int_signed = btf_int_encoding(from) & BTF_INT_SIGNED;
		type->int_bool = btf_int_encoding(from) & BTF_INT_BOOL;
		type->int_partial = btf_int_offset(from) || btf_int_bits(from) != from->size * 8;
		break;
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
	case BTF_KIND_FLOAT:
	case BTF_KIND_DATASEC:
		type->size = from->size;
		break;
	case BTF_KIND_ARRAY:
		type->type = btf_array(from)->type;
		type->count = btf_array(from)->nelems;
		break;
	case BTF_KIND_PTR:
		type->size = btf__pointer_size(btf);
		type->type = from->type;
		break;
	case BTF_KIND_UNKN:
		break;
	default:
		type->type = from->type;
	}
	return 0;
}

int mms_btf_member(const struct btf *btf, uint32_t id, uint32_t index,
		   struct mms_btf_member *member)
{
	const struct btf_type *from = btf__type_by_id(btf, id);

	if (!from || !btf_is_composite(from) || index >= btf_vlen(from))
		return -EINVAL;
	*member = (struct mms_btf_member){
		.name = btf__name_by_offset(btf, btf_members(from)[index].name_off),
		.type = btf_members(from)[index].type,
		.bit_offset = btf_member_bit_offset(from, index),
		.bit_size = btf_member_bitfield_size(from, index),
	};
	return member->name ? 0 : -EINVAL;
}

int mms_btf_variable(const struct btf *btf, uint32_t section, uint32_t index,
		     struct mms_btf_variable *variable)
{
	const struct btf_type *from = btf__type_by_id(btf, section);
	const struct btf_var_secinfo *info;
	const struct btf_type *var;

	if (!from || !btf_is_datasec(from) || index >= btf_vlen(from))
		return -EINVAL;
	info = btf_var_secinfos(from) + index;
	var = btf__type_by_id(btf, info->type);
	if (!var || !btf_is_var(var))
		return -EINVAL;
	*variable = (struct mms_btf_variable){
		.name = btf__name_by_offset(btf, var->name_off),
		.type = var->type,
		.offset = info->offset,
		.size = info->size,
		.is_static = btf_var(var)->linkage == BTF_VAR_STATIC,
		.is_extern = btf_var(var)->linkage == BTF_VAR_GLOBAL_EXTERN,
	};
	return variable->name ? 0 : -EINVAL;
}

int mms_btf_from_kernel(uint32_t id, struct btf **btf)
{
	*btf = btf__load_from_kernel_by_id(id);
	return *btf ? 0 : -errno;
}

int mms_btf_from_bytes(const void *bytes, uint32_t size, struct btf **btf)
{
	*btf = btf__new(bytes, size);
	return *btf ? 0 : -errno;
}

void mms_btf_free(struct btf *btf)
{
	btf__free(btf);
}
