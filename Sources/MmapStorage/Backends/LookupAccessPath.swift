// SPDX-License-Identifier: Apache-2.0

/// How ``LookupBackend`` reaches the calling thread's own value.
@_spi(Benchmarks)
public enum LookupAccessPath: Sendable, Hashable, CaseIterable {
  /// By program if the programs can be loaded, else by pidfd.
  case automatic
  /// Programs of type syscall, loaded when the backend is created: one system call to read (for
  /// each 1008 bytes of a value), one to write, and no pidfd. No field is torn, and unchanged
  /// fields are not written. Needs the right to load programs (CAP_BPF and CAP_PERFMON), `bpf_loop`
  /// (Linux 5.17), and a writable map.
  case program
  /// `bpf_map_lookup_elem` and `bpf_map_update_elem` with a pidfd, which is cached per thread. For
  /// threads other than the thread group leader this needs Linux 6.9.
  ///
  /// A write-back loads the value again, overlays the changed fields, and updates. A program's
  /// write to the value between that load and the update is lost.
  case pidfd
}
