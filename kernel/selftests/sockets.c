// SPDX-License-Identifier: GPL-2.0
/* Opens and closes sockets, without and with a value of socket storage. The cost includes the callbacks
 * that free the values of earlier sockets. For instructions: kernel/run --count-instructions -- sockets
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>

#define ROUNDS 5
#define NR_SOCKETS 20000
#define VALUE_SIZE 64

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int create_map(void)
{
	struct btf *btf = btf__new_empty();
	int key = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	int byte = btf__add_int(btf, "char", 1, 0);
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC,
		    .btf_key_type_id = key,
		    .btf_value_type_id = btf__add_array(btf, key, byte, VALUE_SIZE));

	if (btf__load_into_kernel(btf))
		die("BTF");
	opts.btf_fd = btf__fd(btf);
	return bpf_map_create(BPF_MAP_TYPE_SK_STORAGE, "sockets", sizeof(int), VALUE_SIZE, 0, &opts);
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double open_and_close(int map)
{
	long long started = now();
	char value[VALUE_SIZE] = {};
	int i, fd;

	for (i = 0; i < NR_SOCKETS; i++) {
		fd = socket(AF_INET, SOCK_DGRAM, 0);
		if (fd < 0)
			die("socket");
		if (map >= 0 && bpf_map_update_elem(map, &fd, value, BPF_ANY))
			die("update");
		close(fd);
	}
	return (double)(now() - started) / NR_SOCKETS;
}

int main(void)
{
	int map = create_map(), i;

	if (map < 0)
		die("map");
	puts("| socket (ns) | socket with a value (ns) |\n|---|---|");
	for (i = 0; i < ROUNDS; i++) {
		double without = open_and_close(-1);

		printf("| %.0f | %.0f |\n", without, open_and_close(map));
	}
	return 0;
}
