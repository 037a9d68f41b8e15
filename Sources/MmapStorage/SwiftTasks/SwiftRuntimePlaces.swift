// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import LibBPF
internal import SystemPackage

// Invariant: buffers are lent for one call, with their sizes. Only elements that the call wrote are
// read.

/// The offsets of the current Swift task and of its bindings in the Swift runtime of this process.
///
/// No offset is assumed. Random values are bound, and searched for in the runtime's thread-local
/// memory and in the Swift task. An offset that is found in several Swift tasks is used.
struct SwiftRuntimePlaces: Sendable, Hashable {
  /// Offset from the thread pointer to the word with the current Swift task.
  var taskWord: Int64
  /// Offset in a Swift task of the word with its latest binding.
  var bindings: UInt32
  /// Offset in a binding of its value.
  var tag: UInt32

  private static var tries: Int { 3 }

  /// Searches the runtime of this process.
  static func find(for attempt: String) async throws(BPFError) -> SwiftRuntimePlaces {
    var words: Set<Int64>?
    var bindings: Set<SwiftTaskBindingPlace>?
    for _ in 0..<tries {
      let found = await Task.detached { search() }.value
      let (newWords, newBindings) = try found.get(for: attempt)
      words = words?.intersection(newWords) ?? newWords
      bindings = bindings?.intersection(newBindings) ?? newBindings
    }
    // The word is 0 when no Swift task runs.
    let idle = try onNewThread(attempt: attempt) { taskWords() }
    guard case .success(let empty) = idle, let words, let bindings else {
      throw SwiftRuntime.unsupported(attempt, step: "reading the runtime's thread-local memory")
    }
    let remaining = words.intersection(empty)
    guard let word = remaining.first, remaining.count == 1 else {
      throw SwiftRuntime.unsupported(
        attempt,
        step: "finding the word with the current Swift task (\(remaining.count) match)"
      )
    }
    guard let binding = bindings.first, bindings.count == 1 else {
      throw SwiftRuntime.unsupported(
        attempt,
        step: "finding the bindings of a Swift task (\(bindings.count) places match)"
      )
    }
    return SwiftRuntimePlaces(taskWord: word, bindings: binding.bindings, tag: binding.tag)
  }

  /// One search, in the current Swift task.
  private static func search() -> SearchResult {
    let local = TaskLocal<SwiftTaskBinding>(wrappedValue: .none)
    let key = unsafe UInt64(UInt(bitPattern: Unmanaged.passUnretained(local).toOpaque()))
    // An odd number is not a pointer.
    let tag = UInt64.random(in: 1 << 62 ... .max) | 1
    return local.withValue(SwiftTaskBinding(tag: tag, lease: nil)) {
      let places = unsafe withUnsafeTemporaryAllocation(of: mms_swift_binding.self, capacity: 16) {
        places -> Result<Set<SwiftTaskBindingPlace>, Errno> in
        guard let start = places.baseAddress else { return .success([]) }
        let count = unsafe mms_swift_find_bindings(key, tag, start, places.count)
        guard count >= 0 else { return .failure(Errno(rawValue: CInt(-count))) }
        let found = unsafe places.prefix(Int(count)).map {
          SwiftTaskBindingPlace(bindings: $0.bindings, tag: $0.tag)
        }
        return .success(Set(found))
      }
      return SearchResult(words: taskWords(), places: places)
    }
  }

  /// The candidate words in the runtime's thread-local memory.
  private static func taskWords() -> Result<Set<Int64>, Errno> {
    // Outside of a Swift task, the search accepts any word that is 0, so there are many candidates.
    unsafe withUnsafeTemporaryAllocation(of: Int64.self, capacity: 1 << 16) { words in
      guard let start = words.baseAddress else { return .success([]) }
      let count = unsafe mms_swift_find_task_words(start, words.count)
      guard count >= 0 else { return .failure(Errno(rawValue: CInt(-count))) }
      return unsafe .success(Set(words.prefix(Int(count))))
    }
  }
}

struct SwiftTaskBindingPlace: Sendable, Hashable {
  var bindings: UInt32
  var tag: UInt32
}

private struct SearchResult: Sendable {
  var words: Result<Set<Int64>, Errno>
  var places: Result<Set<SwiftTaskBindingPlace>, Errno>

  func get(for attempt: String) throws(BPFError) -> (Set<Int64>, Set<SwiftTaskBindingPlace>) {
    let foundWords: Set<Int64>
    let foundPlaces: Set<SwiftTaskBindingPlace>
    switch words {
    case .success(let found): foundWords = found
    case .failure(let errno):
      throw SwiftRuntime.unsupported(
        attempt,
        step: "reading the runtime's thread-local memory",
        errno: errno
      )
    }
    switch places {
    case .success(let found): foundPlaces = found
    case .failure(let errno):
      throw SwiftRuntime.unsupported(attempt, step: "reading a Swift task", errno: errno)
    }
    return (foundWords, foundPlaces)
  }
}

extension SwiftRuntime {
  static func findPath() -> String {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { path in
      guard let start = path.baseAddress else { return "" }
      unsafe mms_swift_runtime_path(start, path.count)
      return unsafe String(cString: start)
    }
  }
}
