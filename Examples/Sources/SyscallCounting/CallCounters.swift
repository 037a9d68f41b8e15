// SPDX-License-Identifier: Apache-2.0
/// The program's counters of a thread: `struct call_counters` of syscall-counters.bpf.c.
public typealias CallCounters = SyscallCounters.CallCounters
