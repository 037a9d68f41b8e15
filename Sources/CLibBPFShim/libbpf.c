#include "mms_libbpf.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

static _Thread_local struct mms_capture *current_capture;
static _Atomic(libbpf_print_fn_t) outer_print;
static pthread_once_t print_installed = PTHREAD_ONCE_INIT;

static int capturing_print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	struct mms_capture *capture = current_capture;
	libbpf_print_fn_t outer;
	int length;

	if (!capture) {
		outer = outer_print;
		return outer ? outer(level, format, arguments) : 0;
	}
	if (level != LIBBPF_WARN)
		return 0;
	length = vsnprintf(capture->text + capture->length, capture->size - capture->length,
			   format, arguments);
	if (length < 0)
		return length;
	capture->length += length;
	if (capture->length >= capture->size)
		capture->length = capture->size - 1;
	return length;
}

static void install_print(void)
{
	outer_print = libbpf_set_print(capturing_print);
}

void mms_capture_begin(struct mms_capture *capture)
{
	pthread_once(&print_installed, install_print);
	capture->length = 0;
	capture->text[0] = '\0';
	capture->outer = current_capture;
	current_capture = capture;
}

void mms_capture_end(struct mms_capture *capture)
{
	current_capture = capture->outer;
}

void mms_strerror(int error, char *text, size_t size)
{
	libbpf_strerror(error, text, size);
}

int mms_object_open(void *bytes, size_t size, const char *name, struct bpf_object **object)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name);

	*object = bpf_object__open_mem(bytes, size, &options);
	return *object ? 0 : -errno;
}

int mms_object_load(struct bpf_object *object)
{
	return bpf_object__load(object);
}

void mms_object_close(struct bpf_object *object)
{
	bpf_object__close(object);
}

const struct btf *mms_object_btf(const struct bpf_object *object)
{
	return bpf_object__btf(object);
}

struct bpf_map *mms_object_find_map(const struct bpf_object *object, const char *name)
{
	return bpf_object__find_map_by_name(object, name);
}

struct bpf_map *mms_object_next_map(const struct bpf_object *object, const struct bpf_map *map)
{
	return bpf_object__next_map(object, map);
}

struct bpf_program *mms_object_find_program(const struct bpf_object *object, const char *name)
{
	return bpf_object__find_program_by_name(object, name);
}

struct bpf_program *mms_object_next_program(const struct bpf_object *object,
					    struct bpf_program *program)
{
	return bpf_object__next_program(object, program);
}

const char *mms_map_name(const struct bpf_map *map)
{
	return bpf_map__name(map);
}

bool mms_map_is_internal(const struct bpf_map *map)
{
	return bpf_map__is_internal(map);
}

bool mms_map_autocreate(const struct bpf_map *map)
{
	return bpf_map__autocreate(map);
}

int mms_map_set_autocreate(struct bpf_map *map, bool autocreate)
{
	return bpf_map__set_autocreate(map, autocreate);
}

uint32_t mms_map_type(const struct bpf_map *map)
{
	return bpf_map__type(map);
}

uint32_t mms_map_flags(const struct bpf_map *map)
{
	return bpf_map__map_flags(map);
}

int mms_map_set_flags(struct bpf_map *map, uint32_t flags)
{
	return bpf_map__set_map_flags(map, flags);
}

int mms_map_set_max_entries(struct bpf_map *map, uint32_t max_entries)
{
	return bpf_map__set_max_entries(map, max_entries);
}

int mms_map_reuse(struct bpf_map *map, int fd)
{
	return bpf_map__reuse_fd(map, fd);
}

uint32_t mms_map_value_size(const struct bpf_map *map)
{
	return bpf_map__value_size(map);
}

uint32_t mms_map_value_type_id(const struct bpf_map *map)
{
	return bpf_map__btf_value_type_id(map);
}

int mms_map_fd(const struct bpf_map *map)
{
	return bpf_map__fd(map);
}

void *mms_map_initial_value(struct bpf_map *map, size_t *size)
{
	return (void *)bpf_map__initial_value(map, size);
}

const char *mms_program_name(const struct bpf_program *program)
{
	return bpf_program__name(program);
}

const char *mms_program_section(const struct bpf_program *program)
{
	return bpf_program__section_name(program);
}

bool mms_program_autoload(const struct bpf_program *program)
{
	return bpf_program__autoload(program);
}

int mms_program_set_autoload(struct bpf_program *program, bool autoload)
{
	return bpf_program__set_autoload(program, autoload);
}

bool mms_program_autoattach(const struct bpf_program *program)
{
	return bpf_program__autoattach(program);
}

int mms_program_set_log(struct bpf_program *program, char *text, size_t size)
{
	return bpf_program__set_log_buf(program, text, size);
}

int mms_program_attach(const struct bpf_program *program, struct bpf_link **link)
{
	*link = bpf_program__attach(program);
	return *link ? 0 : -errno;
}

int mms_program_fd(const struct bpf_program *program)
{
	return bpf_program__fd(program);
}

int mms_program_run(int fd, void *context, uint32_t size, int32_t *result)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = context, .ctx_size_in = size);
	int error = bpf_prog_test_run_opts(fd, &options);

	*result = options.retval;
	return error;
}

int mms_link_destroy(struct bpf_link *link)
{
	return bpf_link__destroy(link);
}

int mms_map_info(int fd, struct mms_map_info *info)
{
	struct bpf_map_info from = {};
	uint32_t size = sizeof(from);
	int error = bpf_obj_get_info_by_fd(fd, &from, &size);

	if (error)
		return error;
	*info = (struct mms_map_info){
		.type = from.type,
		.id = from.id,
		.key_size = from.key_size,
		.value_size = from.value_size,
		.max_entries = from.max_entries,
		.flags = from.map_flags,
		.btf_id = from.btf_id,
		.btf_key_type_id = from.btf_key_type_id,
		.btf_value_type_id = from.btf_value_type_id,
	};
	memcpy(info->name, from.name, sizeof(info->name));
	info->name[sizeof(info->name) - 1] = '\0';
	return 0;
}

int mms_map_lookup(int fd, const void *key, void *value, uint64_t flags)
{
	return bpf_map_lookup_elem_flags(fd, key, value, flags);
}

int mms_map_update(int fd, const void *key, const void *value, uint64_t flags)
{
	return bpf_map_update_elem(fd, key, value, flags);
}

int mms_map_delete(int fd, const void *key)
{
	return bpf_map_delete_elem(fd, key);
}

int mms_map_create(uint32_t type, const char *name, uint32_t key_size, uint32_t value_size,
		   uint32_t max_entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);

	return bpf_map_create(type, name, key_size, value_size, max_entries, &options);
}

/* `struct NAME { __u64 words[word_count]; }` */
static int add_words(struct btf *btf, const char *name, int key, uint32_t word_count)
{
	int word = btf__add_int(btf, "unsigned long long", 8, 0);
	int words = btf__add_array(btf, key, word, word_count);
	int value = btf__add_struct(btf, name, word_count * 8);

	if (word < 0 || words < 0 || value < 0 || btf__add_field(btf, "words", words, 0, 0))
		return -ENOMEM;
	return value;
}

/* `struct value { struct mms_page __uptr *page; }`; the kernel has a `struct page`, and refuses it. */
static int add_user_page(struct btf *btf, int key, uint32_t word_count)
{
	int page = add_words(btf, "mms_page", key, word_count);
	int tag = btf__add_type_tag(btf, "uptr", page);
	int pointer = btf__add_ptr(btf, tag);
	int value = btf__add_struct(btf, "value", 8);

	if (page < 0 || tag < 0 || pointer < 0 || value < 0 ||
	    btf__add_field(btf, "page", pointer, 0, 0))
		return -ENOMEM;
	return value;
}

int mms_task_storage_create(const char *name, uint32_t word_count, bool user_page, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	int key, value, error;
	struct btf *btf = btf__new_empty();

	if (!btf)
		return -errno;
	key = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	value = user_page ? add_user_page(btf, key, word_count) :
			    add_words(btf, "value", key, word_count);
	if (key < 0 || value < 0) {
		error = -ENOMEM;
		goto out;
	}
	error = btf__load_into_kernel(btf);
	if (error)
		goto out;
	options.btf_fd = btf__fd(btf);
	options.btf_key_type_id = key;
	options.btf_value_type_id = value;
	error = bpf_map_create(BPF_MAP_TYPE_TASK_STORAGE, name, sizeof(int),
			       user_page ? 8 : word_count * 8, 0, &options);
out:
	btf__free(btf);
	return error;
}

const char *mms_map_type_name(uint32_t type)
{
	return libbpf_bpf_map_type_str(type);
}

int mms_pin(int fd, const char *path)
{
	return bpf_obj_pin(fd, path);
}

int mms_open_pinned(const char *path, bool read_only)
{
	LIBBPF_OPTS(bpf_obj_get_opts, options, .file_flags = read_only ? BPF_F_RDONLY : 0);

	return bpf_obj_get_opts(path, &options);
}
