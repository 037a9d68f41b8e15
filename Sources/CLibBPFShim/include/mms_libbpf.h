#ifndef MMS_LIBBPF_H
#define MMS_LIBBPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Thin wrappers around libbpf: no policy. Functions that can fail return 0 (or a descriptor), or
 * -errno; libbpf's own error numbers start at 4000.
 */

struct bpf_link;
struct bpf_map;
struct bpf_object;
struct bpf_program;

#pragma clang assume_nonnull begin

/*
 * libbpf has one print function for the whole process. Between begin and end its warnings on the
 * calling thread are kept in `text` (always terminated, cut when full) and go nowhere else. What
 * it prints outside of that goes where it went before the first capture.
 */
struct mms_capture {
	char *text;
	size_t size;
	size_t length;
	struct mms_capture *_Nullable outer;
};

void mms_capture_begin(struct mms_capture *capture);
void mms_capture_end(struct mms_capture *capture);

/* The text of an error number, libbpf's own ones included. */
void mms_strerror(int error, char *text, size_t size);

/* Objects. `bytes` is needed during the call only. */
int mms_object_open(void *bytes, size_t size, const char *name,
		    struct bpf_object *_Nullable *_Nonnull object);
int mms_object_load(struct bpf_object *object);
void mms_object_close(struct bpf_object *object);
const struct btf *_Nullable mms_object_btf(const struct bpf_object *object);

/* The maps and programs of an object. An internal map's name may be given as its section's. */
struct bpf_map *_Nullable mms_object_find_map(const struct bpf_object *object, const char *name);
struct bpf_map *_Nullable mms_object_next_map(const struct bpf_object *object,
					      const struct bpf_map *_Nullable map);
struct bpf_program *_Nullable mms_object_find_program(const struct bpf_object *object,
						      const char *name);
struct bpf_program *_Nullable mms_object_next_program(const struct bpf_object *object,
						      struct bpf_program *_Nullable program);

const char *mms_map_name(const struct bpf_map *map);
bool mms_map_is_internal(const struct bpf_map *map);
bool mms_map_autocreate(const struct bpf_map *map);
int mms_map_set_autocreate(struct bpf_map *map, bool autocreate);
uint32_t mms_map_type(const struct bpf_map *map);
uint32_t mms_map_flags(const struct bpf_map *map);
int mms_map_set_flags(struct bpf_map *map, uint32_t flags);
int mms_map_set_max_entries(struct bpf_map *map, uint32_t max_entries);
int mms_map_reuse(struct bpf_map *map, int fd);
uint32_t mms_map_value_size(const struct bpf_map *map);
uint32_t mms_map_value_type_id(const struct bpf_map *map);
int mms_map_fd(const struct bpf_map *map);
void *_Nullable mms_map_initial_value(struct bpf_map *map, size_t *size);

const char *mms_program_name(const struct bpf_program *program);
const char *mms_program_section(const struct bpf_program *program);
bool mms_program_autoload(const struct bpf_program *program);
int mms_program_set_autoload(struct bpf_program *program, bool autoload);
bool mms_program_autoattach(const struct bpf_program *program);
int mms_program_set_log(struct bpf_program *program, char *_Nullable text, size_t size);
int mms_program_attach(const struct bpf_program *program,
		       struct bpf_link *_Nullable *_Nonnull link);

int mms_program_fd(const struct bpf_program *program);

/* Runs a program of type syscall in the calling thread. `result` is what it returned. */
int mms_program_run(int fd, void *_Nullable context, uint32_t size, int32_t *result);

int mms_link_destroy(struct bpf_link *link);

/* Descriptors of maps. */
struct mms_map_info {
	uint32_t type;
	uint32_t id;
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries;
	uint32_t flags;
	uint32_t btf_id;
	uint32_t btf_key_type_id;
	uint32_t btf_value_type_id;
	char name[16];
};

int mms_map_info(int fd, struct mms_map_info *info);
int mms_map_lookup(int fd, const void *key, void *value, uint64_t flags);
int mms_map_update(int fd, const void *key, const void *value, uint64_t flags);
int mms_map_delete(int fd, const void *key);
int mms_map_create(uint32_t type, const char *name, uint32_t key_size, uint32_t value_size,
		   uint32_t max_entries, uint32_t flags);

/*
 * A task storage map, BTF and all, whose value is `struct value { __u64 words[word_count]; }`, or
 * with `user_page` a __uptr to a page of as many words.
 */
int mms_task_storage_create(const char *name, uint32_t word_count, bool user_page,
			    uint32_t flags);

const char *_Nullable mms_map_type_name(uint32_t type);

int mms_pin(int fd, const char *path);
int mms_open_pinned(const char *path, bool read_only);

#pragma clang assume_nonnull end

#endif
