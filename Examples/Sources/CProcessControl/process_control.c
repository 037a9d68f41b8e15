/* SPDX-License-Identifier: Apache-2.0 */
#include "process_control.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int call(int command, union bpf_attr *attributes)
{
	long result = syscall(SYS_bpf, command, attributes, sizeof(*attributes));

	return result < 0 ? -errno : (int)result;
}

int process_control_open(const char *path)
{
	union bpf_attr attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.pathname = (uintptr_t)path;
	return call(BPF_OBJ_GET, &attributes);
}

int process_control_run(int program, uint64_t operation)
{
	uint64_t arguments[1] = { operation };
	union bpf_attr attributes;
	int result;

	memset(&attributes, 0, sizeof(attributes));
	attributes.test.prog_fd = program;
	attributes.test.ctx_in = (uintptr_t)arguments;
	attributes.test.ctx_size_in = sizeof(arguments);
	result = call(BPF_PROG_TEST_RUN, &attributes);
	return result < 0 ? result : (int)attributes.test.retval;
}
