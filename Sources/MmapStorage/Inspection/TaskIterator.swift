// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import LibBPF
package import MapValues
internal import SystemPackage

/// A BPF task iterator that copies the values of all tasks in the kernel. It also reads user pages, which lookups
/// do not. May be used from any thread.
package final class TaskIterator: Sendable {
  /// The layout of the values.
  package let layout: ValueLayout

  private let map: BPFMap
  private let link: BPFLink

  /// Loads the iterator for a map. Without `layout`, reads it from the map's type information.
  package init(map: BPFMap, layout: ValueLayout? = nil) throws(BPFError) {
    let attempt = "read the values of all tasks"
    let info = try map.taskStorageInfo()
    let layout = if let layout { layout.placed(in: map, info) } else { try map.valueLayout() }
    let elementSize = layout.isInUserPage ? MemoryLayout<UInt>.size : layout.type.size
    guard info.valueSize == elementSize else {
      throw BPFError(
        .layoutMismatch,
        attempt: attempt,
        on: map.describedName,
        advice: "the layout '\(layout.name)' has elements of \(elementSize) bytes, and the map of "
          + "\(info.valueSize)"
      )
    }
    let name = layout.isInUserPage ? "write_pages" : "write_elements"
    link = try Self.withErrors(about: map, attempt) { () throws(BPFError) in
      let object = try Self.loaded(name, for: map, valueSize: layout.type.size)
      defer { object.close() }
      let program = try object.program(name)
      try program.attach()
      return try program.link()
    }
    self.layout = layout
    self.map = map
  }

  /// Turns errors about an object of this library into errors about the caller's map.
  static func withErrors<Result>(
    about map: BPFMap,
    _ attempt: String,
    _ body: () throws(BPFError) -> Result
  ) throws(BPFError) -> Result {
    do throws(BPFError) {
      return try body()
    } catch {
      throw BPFError(
        error.kind,
        attempt: attempt,
        on: map.describedName,
        errno: error.errno,
        advice: error.advice,
        details: error.details
      )
    }
  }

  /// Opens task-values.bpf.c for a map and loads one of its programs.
  static func loaded(
    _ program: String,
    for map: BPFMap,
    valueSize: Int
  ) throws(BPFError) -> BPFObject {
    let object = try BPFObject.open(.taskValues)
    do throws(BPFError) {
      try object.program(program).setAutoload(true)
      try object.reuse(map, as: "values")
      try object.setGlobal("value_size", to: UInt32(valueSize))
      try object.load()
      return object
    } catch {
      object.close()
      throw error
    }
  }

  /// Returns copies of all values as bytes, in the order of the kernel's list of tasks.
  package func values() throws(BPFError) -> [TaskValue<[UInt8]>] {
    let attempt = "read the values of all tasks"
    let bytes = try link.readIterator(for: attempt)
    let size = layout.type.size
    var found: [TaskValue<[UInt8]>] = []
    var offset = 0
    var elements: MapBytes?
    while bytes.count - offset >= TaskRecord.size {
      let record = TaskRecord(bytes[offset..<offset + TaskRecord.size])
      offset += TaskRecord.size
      if record.valueSize == 0 {
        // A lookup copies the pointer to a user page, not the page.
        guard !layout.isInUserPage else {
          throw BPFError(
            .unsupported,
            attempt: attempt,
            on: map.describedName,
            advice: "its values are in user pages and have more than 28 KiB"
          )
        }
        let known =
          if let elements { elements } else {
            try MapBytes(MapHandle(map, for: attempt), for: attempt)
          }
        elements = known
        if let value = try lookUp(record.task.thread, in: known, attempt: attempt) {
          found.append(TaskValue(task: record.task, value: value))
        }
        continue
      }
      guard record.valueSize == size, bytes.count - offset >= size else { break }
      let value = Array(bytes[offset..<offset + size])
      offset += size
      found.append(TaskValue(task: record.task, value: value))
    }
    guard offset == bytes.count else {
      throw BPFError(
        .system,
        attempt: attempt,
        on: map.describedName,
        advice: "the iterator's output ends in the middle of a record"
      )
    }
    return found
  }

  private func lookUp(
    _ thread: ThreadID,
    in elements: MapBytes,
    attempt: String
  ) throws(BPFError) -> [UInt8]? {
    let value: Result<[UInt8], Errno>
    do throws(BPFError) {
      value = try TaskReference.thread(thread).withPidfd(for: attempt, isKept: false) { pidfd in
        Result { () throws(Errno) in try elements.value(of: pidfd.memoryBytes) }
      }
    } catch {
      guard error.kind == .noSuchTask else { throw error }
      return nil
    }
    switch value {
    case .success(let bytes): return bytes
    case .failure(.noSuchFileOrDirectory): return nil
    case .failure(let errno):
      throw elementError(errno, attempt: attempt, on: map.describedName, of: .thread(thread))
    }
  }
}

extension ValueLayout {
  /// The layout with the place of the map's values, which an object file does not contain.
  fileprivate func placed(in map: BPFMap, _ info: BPFMapInfo) -> ValueLayout {
    var layout = self
    if let own = try? map.valueLayout() {
      layout.isInUserPage = own.isInUserPage
    } else if let id = userPageTypeID {
      layout.isInUserPage = info.btfValueTypeID == id
    }
    return layout
  }
}

/// `struct record` of task-values.bpf.c.
private struct TaskRecord {
  static let size = 56

  var valueSize: Int
  var task: TaskInfo

  /// - Parameter bytes: ``size`` bytes.
  init(_ bytes: ArraySlice<UInt8>) {
    func load<T: FixedWidthInteger>(_ at: Int, _: T.Type) -> T {
      T(memoryBytes: bytes.dropFirst(at))
    }
    func text(_ at: Int) -> String {
      String(decoding: bytes.dropFirst(at).prefix(16).prefix { $0 != 0 }, as: UTF8.self)
    }
    valueSize = Int(load(0, UInt32.self))
    task = TaskInfo(
      thread: ThreadID(rawValue: load(4, Int32.self)),
      processID: load(8, Int32.self),
      threadName: text(24),
      processName: text(40),
      userID: load(12, UInt32.self),
      startTime: load(16, UInt64.self)
    )
  }
}
