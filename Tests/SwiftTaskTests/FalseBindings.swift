// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import SystemPackage
import Testing

/// Bindings in the memory of this process, in the layout that it has registered.
final class FalseBindings: Sendable {
  static let key: UInt64 = 0x1234_5678_9abc_def0

  nonisolated(unsafe) let words: UnsafeMutablePointer<UInt64>
  init() {
    words = .allocate(capacity: 4096)
    words.initialize(repeating: 0, count: 4096)
  }
  deinit { words.deallocate() }
  func address(_ word: Int) -> UInt64 { UInt64(UInt(bitPattern: words + word)) }

  /// A list of one item, from word 8.
  func bind(_ tag: UInt64) {
    words[0] = address(8)
    words[8] = 0
    words[9] = Self.key
    words[11] = tag
  }

  /// Registers the words with the start of the thread's scopes and with the current Swift task. The
  /// list of a Swift task starts at its first word.
  func register(_ control: FileDescriptor, head: Int, task: Int) {
    let pointer = UInt64(test_thread_pointer())
    Self.run(control, [3, Self.key, address(task) &- pointer, address(head) &- pointer, 0, 24])
  }

  static func run(_ control: FileDescriptor, _ arguments: [UInt64]) {
    let program = try? BPFProgram(duplicating: control)
    #expect(program?.runRaw(arguments) == .success(1))
  }
}
