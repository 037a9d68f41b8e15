// SPDX-License-Identifier: Apache-2.0

/// How ``LookupBackend`` reaches the calling thread's own value.
@_spi(Benchmarks)
public enum LookupAccessPath: Sendable, Hashable, CaseIterable {
  /// By program if the programs can be loaded, else by pidfd.
  case automatic
  /// Programs of type syscall, loaded when the backend is created: one system call to read (for
  /// each 1008 bytes of a value), one to write, and no descriptor for a thread. No field is torn,
  /// and what is not written stays as it is. Needs the right to load programs (CAP_BPF and
  /// CAP_PERFMON), `bpf_loop` (Linux 5.17), and a map that may be written.
  case program
  /// `bpf_map_lookup_elem` and `bpf_map_update_elem` with a pidfd, which is kept for each thread.
  /// For threads that do not lead their process this needs Linux 6.9.
  ///
  /// A write-back loads the value once more, overlays the fields that changed, and updates. What
  /// the program writes to the value between that load and the update is lost.
  case pidfd
}
