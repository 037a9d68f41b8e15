// SPDX-License-Identifier: Apache-2.0
/// A class of system calls; the raw values are those of `enum call_class` in C.
public enum CallClass: Int, CaseIterable, Sendable {
  case other, file, process, scheduler, time, bpf
}
