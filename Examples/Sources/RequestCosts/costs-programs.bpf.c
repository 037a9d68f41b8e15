// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Adds a thread's costs to the request that the thread works on, or to the totals of its process
 * outside of any request. Applies only to processes with an element in `processes`, which each
 * process creates itself.
 */
#include <linux/bpf.h>
#include <asm/unistd.h>
#include <mmap_storage.bpf.h>
#include <swift_task_storage.bpf.h>
#include <bpf/bpf_tracing.h>

enum call_class {
	CALL_IO,		/* read and write, of files as well as of sockets */
	CALL_FILE,
	CALL_SOCKET,
	CALL_POLL,
	CALL_FUTEX,
	CALL_TIME,
	CALL_MEMORY,
	CALL_PROCESS,		/* of which process and user; not gettid(), which runtimes call */
	CALL_OTHER,
	CALL_CLASSES,
};

enum cause {
	CAUSE_FUTEX,
	CAUSE_FILE,
	CAUSE_SOCKET,
	CAUSE_SLEEP,
	CAUSE_POLL,
	CAUSE_FAULT,
	CAUSE_OTHER,
	CAUSES,
};

/* Times are in nanoseconds. */
struct costs {
	__u64 kernel_time;		/* on a processor, in system calls */
	__u64 user_time;		/* on a processor otherwise; credited at samples */
	__u64 samples;
	__u64 run_queue_time;
	__u64 run_queue_waits;
	__u64 blocked_time[CAUSES];
	__u64 calls[CALL_CLASSES];
	__u64 call_time[CALL_CLASSES];	/* from entry to exit, waiting included */
	__u64 page_faults;
	__u64 bytes_read;
	__u64 bytes_written;
	__u64 tcp_received;
	__u64 tcp_sent;
};

struct request {
	__u64 id;
	__u64 trace_id_high;
	__u64 trace_id_low;
	struct costs costs;
};

struct process {
	struct costs outside;
	__u64 exec_id;			/* of the executable that registered; 0 for any */
	__u64 registered;		/* differs between two registrations */
};

/* The first argument of processes_control. */
enum {
	PROCESS_REGISTER = 1,
	PROCESS_UNREGISTER = 2,
};

/* Optional features of a kernel; bits of loader.left_out. */
enum optional {
	ON_PAGE_FAULT,
	ON_SENT,
	ON_RECEIVED,
	ON_WAKEUP,
	ON_SAMPLE,
	ON_EVENTS,		/* the programs of trace events */
};

struct thread {
	__u64 registered;	/* of the process, at the start of this state */
	__u64 accounted;	/* when its time on the processor was last accounted */
	__u64 unsampled;	/* user time since the last sample */
	__u64 token;		/* of the request, in a system call and while switched out */
	__u64 entered;		/* when the system call began */
	__u64 call_kernel_time;	/* of the system call so far */
	__u64 call_tcp_received;
	__u64 stopped;		/* when it was switched out; 0 while it runs */
	__u64 woken;		/* when it became runnable; 0 while it is blocked */
	__u64 descriptor;	/* first argument of the system call */
	__u32 attachments;	/* at the start of this state */
	__u32 call_class;
	__u32 cause;
	__u8 in_call;
	__u8 reads;
	__u8 writes;
};

/*
 * The last read of a thread outside of any request. An event loop reads before the request is known, and then
 * adds the read to the request.
 */
struct read_call {
	__u64 call_class;
	__u64 calls;		/* 1; 0 after user space has taken it */
	__u64 kernel_time;
	__u64 call_time;
	__u64 bytes_read;
	__u64 tcp_received;
};

/* Information for servers that open the pins of a loader. */
struct loader {
	__u64 version;		/* 1; 0 before the loader has written it */
	__u64 left_out;		/* bits of enum optional */
	__u64 missed_runs;
	__u64 updated;		/* CLOCK_MONOTONIC, in nanoseconds */
};

SWIFT_TASK_STORAGE(requests, struct request, 4096);

/* The value of a thread group leader is that of the process. Unprivileged processes only read it. */
TASK_STORAGE_DIRECT(processes, struct process);
TASK_STORAGE_DIRECT(threads, struct thread);

/* Only threads that requested it have a value. */
TASK_STORAGE(read_calls, struct read_call);

/*
 * The request whose response waits for the socket, by process and descriptor. An event loop writes the rest
 * outside of any callback. A token of a request that has ended is not found, so entries need not be removed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u64);
} writers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct loader);
} loader SEC(".maps");

/* 0 if on_sample could not be attached: user time is then credited at system calls and switches. */
__u32 is_sampling;

/* The number of times that the programs were attached so far, including the current one. */
__u32 attachments;

struct inode {
	unsigned short i_mode;
} __attribute__((preserve_access_index));

struct file {
	struct inode *f_inode;
} __attribute__((preserve_access_index));

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} __attribute__((preserve_access_index));

struct files_struct {
	struct fdtable *fdt;
} __attribute__((preserve_access_index));

struct task_struct {
	int tgid;
	__u64 self_exec_id;
	struct task_struct *group_leader;
	struct files_struct *files;
} __attribute__((preserve_access_index));

struct sock {
	__u16 sk_protocol;
} __attribute__((preserve_access_index));

struct pt_regs {
#if defined(__TARGET_ARCH_x86)
	unsigned long di;
#define FIRST_ARGUMENT(registers) ((registers)->di)
#else
	unsigned long orig_x0;
#define FIRST_ARGUMENT(registers) ((registers)->orig_x0)
#endif
} __attribute__((preserve_access_index));

/* The records of the trace events with the names of the raw tracepoints. */
struct trace_event_raw_sys_enter {
	long id;
	unsigned long args[6];
} __attribute__((preserve_access_index));

struct trace_event_raw_sys_exit {
	long ret;
} __attribute__((preserve_access_index));

struct trace_event_raw_sock_msg_length {
	__u16 protocol;
	int ret;
} __attribute__((preserve_access_index));

#define EAGAIN 11
#define S_IFMT 0170000
#define S_IFSOCK 0140000

/*
 * The process of a task, if it is counted. After exec it is not: the executable may have other privileges, and
 * its costs must not be visible to all readers.
 */
static __always_inline struct process *process_of(struct task_struct *task)
{
	struct process *process = task_storage_get(processes, task->group_leader);

	if (!process || (process->exec_id && process->exec_id != task->self_exec_id))
		return 0;
	return process;
}

/* Not attached. Registers or unregisters only the process that runs it. Returns 1 on success. */
SEC("raw_tp")
int processes_control(struct bpf_raw_tracepoint_args *arguments)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct process *process;

	task_storage_delete(processes, task->group_leader);
	if (arguments->args[0] != PROCESS_REGISTER)
		return 1;
	process = task_storage_get_or_create(processes, task->group_leader);
	if (!process)
		return 0;
	process->exec_id = task->self_exec_id;
	process->registered = bpf_ktime_get_ns();
	return 1;
}

/*
 * Whether the state of a thread is valid. It is not before the first system call of the thread, and after the
 * programs were detached or the process was unregistered.
 */
static __always_inline int is_known(const struct thread *thread, const struct process *process)
{
	return thread->attachments == attachments && thread->registered == process->registered;
}

/* Begins at a system call. A sample may interrupt this, and must not find the state valid too early. */
static __always_inline void begin(struct thread *thread, const struct process *process, __u64 now)
{
	thread->attachments = 0;
	barrier();
	thread->accounted = now;
	thread->unsampled = 0;
	thread->stopped = 0;
	thread->in_call = 0;
	thread->registered = process->registered;
	barrier();
	thread->attachments = attachments;
}

static __always_inline void add(__u64 *total, __u64 amount)
{
	__sync_fetch_and_add(total, amount);
}

/* The costs of the request of the token; without a token, those outside of any request. */
static __always_inline struct costs *costs_of(struct task_struct *task, struct process *process,
					      __u64 token)
{
	struct request *request = token ? swift_task_storage_find(requests, task, token) : 0;

	return request ? &request->costs : &process->outside;
}

/* Credits the time on the processor since the last call. */
static __always_inline void account(struct task_struct *task, struct process *process,
				    struct thread *thread, __u64 now)
{
	__u64 time = now - thread->accounted;

	/* A sample may have interrupted the program that calls this. */
	if ((__s64)time <= 0)
		return;
	thread->accounted = now;
	if (thread->in_call) {
		thread->call_kernel_time += time;
		add(&costs_of(task, process, thread->token)->kernel_time, time);
	} else {
		thread->unsampled += time;
	}
}

static __always_inline void credit_user_time(struct thread *thread, struct costs *costs)
{
	add(&costs->user_time, thread->unsampled);
	thread->unsampled = 0;
}

static __always_inline void classify(struct thread *thread, long number)
{
	thread->reads = 0;
	thread->writes = 0;
	switch (number) {
	case __NR_read:
	case __NR_readv:
	case __NR_pread64:
	case __NR_preadv:
	case __NR_preadv2:
		thread->reads = 1;
		thread->call_class = CALL_IO;
		break;
	case __NR_write:
	case __NR_writev:
	case __NR_pwrite64:
	case __NR_pwritev:
	case __NR_pwritev2:
		thread->writes = 1;
		thread->call_class = CALL_IO;
		break;
	case __NR_sendfile:
	case __NR_splice:
	case __NR_copy_file_range:
		thread->reads = 1;
		thread->writes = 1;
		thread->call_class = CALL_IO;
		break;
	case __NR_recvfrom:
	case __NR_recvmsg:
		thread->reads = 1;
		thread->call_class = CALL_SOCKET;
		break;
	case __NR_sendto:
	case __NR_sendmsg:
		thread->writes = 1;
		thread->call_class = CALL_SOCKET;
		break;
	case __NR_socket:
	case __NR_socketpair:
	case __NR_bind:
	case __NR_listen:
	case __NR_accept:
	case __NR_accept4:
	case __NR_connect:
	case __NR_getsockname:
	case __NR_getpeername:
	case __NR_setsockopt:
	case __NR_getsockopt:
	case __NR_shutdown:
	case __NR_recvmmsg:
	case __NR_sendmmsg:
		thread->call_class = CALL_SOCKET;
		break;
#ifdef __NR_open
	case __NR_open:
	case __NR_stat:
	case __NR_lstat:
	case __NR_access:
	case __NR_readlink:
	case __NR_unlink:
	case __NR_rename:
	case __NR_mkdir:
#endif
	case __NR_openat:
	case __NR_openat2:
	case __NR_close:
	case __NR_close_range:
	case __NR_fstat:
#ifdef __NR_newfstatat
	case __NR_newfstatat:
#endif
	case __NR_statx:
	case __NR_lseek:
	case __NR_faccessat:
	case __NR_faccessat2:
	case __NR_readlinkat:
	case __NR_unlinkat:
	case __NR_renameat2:
	case __NR_mkdirat:
	case __NR_ftruncate:
	case __NR_fallocate:
	case __NR_fsync:
	case __NR_fdatasync:
	case __NR_getdents64:
	case __NR_fcntl:
	case __NR_ioctl:
	case __NR_dup:
	case __NR_dup3:
	case __NR_pipe2:
	case __NR_flock:
		thread->call_class = CALL_FILE;
		break;
#ifdef __NR_epoll_wait
	case __NR_epoll_wait:
	case __NR_poll:
	case __NR_select:
#endif
	case __NR_epoll_pwait:
	case __NR_epoll_pwait2:
	case __NR_epoll_ctl:
	case __NR_epoll_create1:
	case __NR_ppoll:
	case __NR_pselect6:
	case __NR_eventfd2:
	case __NR_io_uring_enter:
		thread->call_class = CALL_POLL;
		break;
	case __NR_futex:
	case __NR_futex_waitv:
		thread->call_class = CALL_FUTEX;
		break;
	case __NR_nanosleep:
	case __NR_clock_nanosleep:
	case __NR_clock_gettime:
	case __NR_timerfd_create:
	case __NR_timerfd_settime:
		thread->call_class = CALL_TIME;
		break;
	case __NR_mmap:
	case __NR_munmap:
	case __NR_mprotect:
	case __NR_mremap:
	case __NR_madvise:
	case __NR_brk:
		thread->call_class = CALL_MEMORY;
		break;
	case __NR_getpid:
	case __NR_getppid:
	case __NR_getuid:
	case __NR_geteuid:
	case __NR_getcpu:
		thread->call_class = CALL_PROCESS;
		break;
	default:
		thread->call_class = CALL_OTHER;
	}
}

static __always_inline __u64 writer_key(struct task_struct *task, __u64 descriptor)
{
	return (__u64)task->tgid << 32 | (__u32)descriptor;
}

static __always_inline __u64 writer_of(struct task_struct *task, __u64 descriptor)
{
	__u64 key = writer_key(task, descriptor);
	__u64 *token = bpf_map_lookup_elem(&writers, &key);

	return token ? *token : 0;
}

static __always_inline int enter(long number, __u64 argument)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct process *process;
	struct thread *thread;
	struct costs *costs;
	__u64 now;

	process = process_of(task);
	if (!process)
		return 0;
	/* uprobes enter the kernel as system calls that the program did not make. */
	if (number == 335 || number == 336)
		return 0;
	thread = task_storage_get_or_create(threads, task);
	if (!thread)
		return 0;
	now = bpf_ktime_get_ns();
	if (!is_known(thread, process))
		begin(thread, process, now);
	account(task, process, thread, now);
	thread->entered = now;
	thread->call_kernel_time = 0;
	thread->call_tcp_received = 0;
	thread->token = swift_task_storage_token(requests);
	thread->descriptor = argument;
	classify(thread, number);
	if (thread->writes && !thread->token)
		thread->token = writer_of(task, thread->descriptor);
	thread->in_call = 1;

	costs = costs_of(task, process, thread->token);
	if (thread->call_class < CALL_CLASSES)
		add(&costs->calls[thread->call_class], 1);
	if (!is_sampling)
		credit_user_time(thread, costs);
	return 0;
}

/*
 * Since Linux 7, a preemptible kernel preempts programs of raw tracepoints, and does not run them for other
 * threads of the processor meanwhile. Programs of trace events are not preempted, but attaching them needs
 * /sys/kernel/tracing. User space loads one of the two.
 */
SEC("tp_btf/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *registers, long number)
{
	return enter(number, FIRST_ARGUMENT(registers));
}

SEC("tp/raw_syscalls/sys_enter")
int on_enter_event(struct trace_event_raw_sys_enter *event)
{
	return enter(event->id, event->args[0]);
}

static __always_inline void keep_read_call(struct task_struct *task, struct thread *thread, __u64 now,
					   long result)
{
	struct read_call *call = task_storage_get(read_calls, task);

	if (!call)
		return;
	call->call_class = thread->call_class;
	call->calls = 1;
	call->kernel_time = thread->call_kernel_time;
	call->call_time = now - thread->entered;
	call->bytes_read = result;
	call->tcp_received = thread->call_tcp_received;
}

static __always_inline int leave(long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct process *process;
	struct thread *thread;
	struct costs *costs;
	__u64 now;

	thread = task_storage_get(threads, task);
	if (!thread || !thread->in_call)
		return 0;
	process = process_of(task);
	if (!process || !is_known(thread, process))
		return 0;
	now = bpf_ktime_get_ns();
	account(task, process, thread, now);
	costs = costs_of(task, process, thread->token);
	if (thread->call_class < CALL_CLASSES)
		add(&costs->call_time[thread->call_class], now - thread->entered);
	if (result > 0) {
		if (thread->reads)
			add(&costs->bytes_read, result);
		if (thread->writes)
			add(&costs->bytes_written, result);
		if (thread->reads && costs == &process->outside)
			keep_read_call(task, thread, now, result);
	}
	if (result == -EAGAIN && thread->writes && thread->token) {
		__u64 key = writer_key(task, thread->descriptor);

		bpf_map_update_elem(&writers, &key, &thread->token, BPF_ANY);
	}
	thread->in_call = 0;
	thread->token = 0;
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_exit, struct pt_regs *registers, long result)
{
	return leave(result);
}

SEC("tp/raw_syscalls/sys_exit")
int on_exit_event(struct trace_event_raw_sys_exit *event)
{
	return leave(event->ret);
}

static __always_inline int is_socket(struct task_struct *task, __u64 descriptor)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = 0;

	if (!table || descriptor >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + descriptor) || !file)
		return 0;
	return (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) == S_IFSOCK;
}

#define TASK_UNINTERRUPTIBLE 2

static __always_inline __u32 cause_of(struct task_struct *task, struct thread *thread,
				      unsigned int state)
{
	/* A signal or a debugger stops a thread outside of system calls; so does the freezer. */
	if (!thread->in_call)
		return state & TASK_UNINTERRUPTIBLE ? CAUSE_FAULT : CAUSE_OTHER;
	switch (thread->call_class) {
	case CALL_FUTEX:
		return CAUSE_FUTEX;
	case CALL_TIME:
		return CAUSE_SLEEP;
	case CALL_POLL:
		return CAUSE_POLL;
	case CALL_SOCKET:
		return CAUSE_SOCKET;
	case CALL_IO:
		return is_socket(task, thread->descriptor) ? CAUSE_SOCKET : CAUSE_FILE;
	case CALL_FILE:
		return CAUSE_FILE;
	default:
		return CAUSE_OTHER;
	}
}

/* The current thread leaves the processor. */
static __always_inline void stop(struct task_struct *task, _Bool preempted, unsigned int state,
				 __u64 now)
{
	_Bool is_runnable = preempted || !state;
	struct thread *thread = task_storage_get(threads, task);
	struct process *process;

	if (!thread)
		return;
	process = process_of(task);
	if (!process || !is_known(thread, process))
		return;
	account(task, process, thread, now);
	if (!thread->in_call) {
		thread->token = swift_task_storage_token(requests);
		if (!is_sampling)
			credit_user_time(thread, costs_of(task, process, thread->token));
	}
	thread->cause = is_runnable ? CAUSES : cause_of(task, thread, state);
	thread->woken = is_runnable ? now : 0;
	thread->stopped = now;
}

/* Another thread continues. Its memory cannot be read here. */
static __always_inline void resume(struct task_struct *task, __u64 now)
{
	struct thread *thread = task_storage_get(threads, task);
	struct process *process;
	struct costs *costs;
	__u64 woken;
	__u32 cause;

	if (!thread || !thread->stopped)
		return;
	process = process_of(task);
	if (!process || !is_known(thread, process))
		return;
	costs = costs_of(task, process, thread->token);
	woken = thread->woken ? thread->woken : now;
	cause = thread->cause;
	if (cause < CAUSES && woken > thread->stopped)
		add(&costs->blocked_time[cause], woken - thread->stopped);
	if (now > woken) {
		add(&costs->run_queue_time, now - woken);
		add(&costs->run_queue_waits, 1);
	}
	thread->accounted = now;
	thread->stopped = 0;
	if (!thread->in_call)
		thread->token = 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, _Bool preempted, struct task_struct *previous, struct task_struct *next,
	     unsigned int previous_state)
{
	__u64 now = bpf_ktime_get_ns();

	stop(previous, preempted, previous_state, now);
	resume(next, now);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
	struct thread *thread = task_storage_get(threads, task);

	if (thread && thread->stopped && !thread->woken)
		thread->woken = bpf_ktime_get_ns();
	return 0;
}

/* Runs on each processor 997 times a second. Not where interrupts are disabled. */
SEC("perf_event")
int on_sample(void *context)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *thread = task_storage_get(threads, task);
	struct process *process;
	struct costs *costs;
	__u64 token;

	if (!thread)
		return 0;
	process = process_of(task);
	if (!process || !is_known(thread, process))
		return 0;
	account(task, process, thread, bpf_ktime_get_ns());
	token = thread->in_call ? thread->token : swift_task_storage_token(requests);
	costs = costs_of(task, process, token);
	add(&costs->samples, 1);
	if (!thread->in_call)
		credit_user_time(thread, costs);
	return 0;
}

static __always_inline struct costs *current_costs(struct thread *thread)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct process *process;

	if (!thread)
		return 0;
	process = process_of(task);
	if (!process || !is_known(thread, process))
		return 0;
	return costs_of(task, process,
			thread->in_call ? thread->token : swift_task_storage_token(requests));
}

SEC("tp_btf/page_fault_user")
int BPF_PROG(on_page_fault)
{
	struct costs *costs = current_costs(task_storage_get(threads, bpf_get_current_task_btf()));

	if (costs)
		add(&costs->page_faults, 1);
	return 0;
}

#define IPPROTO_TCP 6

static __always_inline int sent(__u16 protocol, int result)
{
	struct costs *costs;

	if (result <= 0 || protocol != IPPROTO_TCP)
		return 0;
	costs = current_costs(task_storage_get(threads, bpf_get_current_task_btf()));
	if (costs)
		add(&costs->tcp_sent, result);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_sent, struct sock *socket, int result)
{
	return sent(socket->sk_protocol, result);
}

SEC("tp/sock/sock_send_length")
int on_sent_event(struct trace_event_raw_sock_msg_length *event)
{
	return sent(event->protocol, event->ret);
}

static __always_inline int received(__u16 protocol, int result)
{
	struct thread *thread;
	struct costs *costs;

	if (result <= 0 || protocol != IPPROTO_TCP)
		return 0;
	thread = task_storage_get(threads, bpf_get_current_task_btf());
	costs = current_costs(thread);
	if (!costs)
		return 0;
	add(&costs->tcp_received, result);
	thread->call_tcp_received += result;
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_received, struct sock *socket, int result)
{
	return received(socket->sk_protocol, result);
}

SEC("tp/sock/sock_recv_length")
int on_received_event(struct trace_event_raw_sock_msg_length *event)
{
	return received(event->protocol, event->ret);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
