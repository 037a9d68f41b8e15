// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CTestSupport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int test_pidfd_open(int tid)
{
	/* PIDFD_THREAD is O_EXCL. */
	long fd = syscall(SYS_pidfd_open, tid, O_EXCL);

	return fd < 0 ? -errno : (int)fd;
}

int test_fork(void)
{
	pid_t child = fork();
	sigset_t none;

	if (child == 0) {
		/* Dispatch blocks signals on its threads, including this one. */
		sigemptyset(&none);
		pthread_sigmask(SIG_SETMASK, &none, NULL);
		alarm(60);
	}
	return child < 0 ? -errno : child;
}

int test_clone_and_exec(const char *path, char *const *arguments)
{
	long child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (child < 0)
		return -errno;
	if (child == 0) {
		execve(path, arguments, environ);
		_exit(127);
	}
	return child;
}

int test_drop_rights(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return -errno;
	if (syscall(SYS_capset, &header, none))
		return -errno;
	/* Changing the user makes the process undumpable, so it cannot open its own /proc. */
	return prctl(PR_SET_DUMPABLE, 1) ? -errno : 0;
}

int test_set_effective_capabilities(uint64_t capabilities)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct rights[2] = { { 0 } };

	if (syscall(SYS_capget, &header, rights))
		return -errno;
	rights[0].effective = capabilities;
	rights[1].effective = capabilities >> 32;
	return syscall(SYS_capset, &header, rights) ? -errno : 0;
}

int test_keep_rights_to_load(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct rights[2] = { { 0 } };

	rights[1].effective = 1 << (CAP_BPF - 32) | 1 << (CAP_PERFMON - 32);
	rights[1].permitted = rights[1].effective;
	return syscall(SYS_capset, &header, rights) ? -errno : 0;
}

int test_forbid_call(int number, int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

int test_forbid_chmod(int error)
{
	int result = test_forbid_call(SYS_fchmodat, error);

#ifdef SYS_chmod
	if (!result)
		result = test_forbid_call(SYS_chmod, error);
#endif
#ifdef SYS_fchmodat2
	if (!result)
		result = test_forbid_call(SYS_fchmodat2, error);
#endif
	return result;
}

int test_leave_bpffs(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	while (!umount2("/sys/fs/bpf", MNT_DETACH))
		;
	return 0;
}

unsigned long test_heap_bytes(void)
{
	return mallinfo2().uordblks;
}

int test_freeze_map(int fd)
{
	union bpf_attr attr = { .map_fd = fd };

	return syscall(SYS_bpf, BPF_MAP_FREEZE, &attr, sizeof(attr)) ? -errno : 0;
}

int test_program_info(int fd, char name[16], int *translated, int *jited)
{
	struct bpf_prog_info info = {};
	union bpf_attr attr = {
		.info.bpf_fd = fd,
		.info.info_len = sizeof(info),
		.info.info = (unsigned long)&info,
	};

	if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)))
		return -errno;
	memcpy(name, info.name, 16);
	*translated = info.xlated_prog_len;
	*jited = info.jited_prog_len;
	return 0;
}

int test_stay_on_first_processor(void)
{
	cpu_set_t may, one;
	int processor = 0;

	if (sched_getaffinity(0, sizeof(may), &may))
		return errno;
	while (processor < CPU_SETSIZE - 1 && !CPU_ISSET(processor, &may))
		processor++;
	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	return sched_setaffinity(0, sizeof(one), &one) ? errno : 0;
}

void test_call(unsigned long first, unsigned long second, unsigned long third)
{
	syscall(SYS_getppid, first, second, third);
}

unsigned long test_thread_pointer(void)
{
	unsigned long pointer;

#if defined(__x86_64__)
	__asm__("movq %%fs:0, %0" : "=r"(pointer));
#else
	__asm__("mrs %0, tpidr_el0" : "=r"(pointer));
#endif
	return pointer;
}

unsigned long *test_thread_words(void)
{
	static _Thread_local unsigned long words[8];

	return words;
}

int test_thread_exists(int tid)
{
	return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

void test_exit_thread(void)
{
	syscall(SYS_exit, 0);
}

int test_is_mapped(void *page)
{
	unsigned char resident;

	return mincore(page, 1, &resident) == 0;
}

int test_has_io_uring(void)
{
	struct io_uring_params parameters = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 1, &parameters);

	if (ring < 0)
		return 0;
	close(ring);
	return 1;
}

int test_read_in_kernel_thread(int fd)
{
	static char byte;
	struct io_uring_params parameters = { 0 };
	struct io_uring_sqe *entry;
	int ring, result = 0;
	size_t size;
	char *head;

	ring = (int)syscall(SYS_io_uring_setup, 1, &parameters);
	if (ring < 0)
		return -errno;
	size = parameters.sq_off.array + sizeof(unsigned int);
	head = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	entry = mmap(NULL, sizeof(*entry), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (head != MAP_FAILED && entry != MAP_FAILED) {
		*entry = (struct io_uring_sqe){
			.opcode = IORING_OP_READ,
			.flags = IOSQE_ASYNC,
			.fd = fd,
			.addr = (unsigned long)&byte,
			.len = 1,
		};
		*(unsigned int *)(head + parameters.sq_off.array) = 0;
		__atomic_store_n((unsigned int *)(head + parameters.sq_off.tail), 1, __ATOMIC_RELEASE);
		result = (int)syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0);
	}
	if (head == MAP_FAILED || entry == MAP_FAILED || result < 0) {
		result = -errno;
		close(ring);
	}
	if (head != MAP_FAILED)
		munmap(head, size);
	if (entry != MAP_FAILED)
		munmap(entry, sizeof(*entry));
	return result < 0 ? result : ring;
}

enum test_sanitizer test_sanitizer(void)
{
#if __has_feature(address_sanitizer)
	return TEST_SANITIZER_ADDRESS;
#elif __has_feature(thread_sanitizer)
	return TEST_SANITIZER_THREAD;
#else
	return TEST_SANITIZER_NONE;
#endif
}

long test_send(int fd, const void *bytes, size_t size, const int *descriptors, size_t count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(253 * sizeof(int))];
	} control = { 0 };
	struct iovec data = { .iov_base = (void *)bytes, .iov_len = size };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };
	long sent;

	if (count > 253)
		return -EINVAL;
	if (count) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), descriptors, count * sizeof(int));
	}
	sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	return sent < 0 ? -errno : sent;
}

static struct {
	void *pages;
	size_t size;
	sem_t stopped, resumed;
} access_stop;

static void stop_access(int number)
{
	(void)number;
	sem_post(&access_stop.stopped);
	while (sem_wait(&access_stop.resumed))
		;
}

void test_stop_access(void *pages, size_t size)
{
	struct sigaction action = { .sa_handler = stop_access, .sa_flags = SA_RESETHAND };

	access_stop.pages = pages;
	access_stop.size = size;
	sem_init(&access_stop.stopped, 0, 0);
	sem_init(&access_stop.resumed, 0, 0);
	sigaction(SIGSEGV, &action, NULL);
	mprotect(pages, size, PROT_NONE);
}

void test_await_access(void)
{
	while (sem_wait(&access_stop.stopped))
		;
}

void test_resume_access(void)
{
	mprotect(access_stop.pages, access_stop.size, PROT_READ | PROT_WRITE);
	sem_post(&access_stop.resumed);
}
