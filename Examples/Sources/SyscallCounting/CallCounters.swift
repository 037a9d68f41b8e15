// SPDX-License-Identifier: Apache-2.0
/// What the program counts about a thread: `struct call_counters` of syscall-counters.bpf.c.
public typealias CallCounters = SyscallCounters.CallCounters
