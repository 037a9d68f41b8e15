// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import SystemPackage

// Invariant: `base` is the address of `size` bytes from `init` to `deinit`.

/// Slots in a map of the kernel's, mapped into the process, and the registration of the process.
@safe
final class MappedSwiftTaskMemory: SwiftTaskMemory {
  nonisolated(unsafe) let base: UnsafeMutableRawPointer
  let control: SwiftTaskControl
  /// Keeps the object, and so its programs attached.
  private let map: BPFMap
  private let registration: SwiftTaskRegistration
  private let seesAllProcesses: Bool

  /// Maps the slots. The registration ends when the memory is released.
  init(
    _ map: BPFMap,
    size: Int,
    control: SwiftTaskControl,
    owner: UInt64,
    registration: SwiftTaskRegistration,
    attempt: String
  ) throws(BPFError) {
    unsafe base = try unsafe map.withDescriptor(for: attempt) { (descriptor) throws(BPFError) in
      var address: UnsafeMutableRawPointer?
      let code = unsafe mms_map_for_process(descriptor.rawValue, size, &address)
      guard code == 0, let address = unsafe address else {
        throw BPFError(
          code: code,
          attempt: attempt,
          on: map.describedName,
          advice: code == -Errno.notPermitted.rawValue || code == -Errno.permissionDenied.rawValue
            ? "the descriptor is read-only, or the map is frozen" : nil
        )
      }
      return unsafe address
    }
    self.control = control
    self.map = map
    self.registration = registration
    // The owner has the number that the process has in the first namespace of process ids. Elsewhere
    // the numbers of other processes say nothing here.
    seesAllProcesses = owner >> 32 == UInt64(getpid())
  }

  deinit {
    registration.end(control)
    unsafe mms_unmap_for_process(base)
  }

  func hasExited(_ owner: UInt64) -> Bool {
    guard seesAllProcesses, let process = pid_t(exactly: owner >> 32), process > 0 else {
      return false
    }
    return kill(process, 0) != 0 && Glibc.errno == ESRCH
  }
}

/// Slots in the memory of the process, which no program sees: for unit tests.
@safe
final class HeapSwiftTaskMemory: SwiftTaskMemory {
  nonisolated(unsafe) let base: UnsafeMutableRawPointer

  init(size: Int) {
    unsafe base = .allocate(byteCount: size, alignment: 64)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: size)
  }

  deinit { unsafe base.deallocate() }

  func hasExited(_ owner: UInt64) -> Bool { false }
}
