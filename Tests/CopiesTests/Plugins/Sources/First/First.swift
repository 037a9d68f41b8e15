// SPDX-License-Identifier: Apache-2.0
public import MmapStorage
import MmapStorageTesting

/// The value of this library's storages.
public struct FirstValue: MapValue, BitwiseCopyable {
  /// The field that is written and read.
  public var number: UInt64
}

nonisolated(unsafe) private var storages: [TaskLocalStorage<FirstValue>] = []

/// Creates a storage, and returns the number of storages, or -1.
@_cdecl("first_create")
public func firstCreate() -> Int32 {
  do {
    let fake = try FakeBackend(layoutOf: FirstValue.self, access: .direct)
    storages.append(try TaskLocalStorage(backend: fake))
    return Int32(storages.count)
  } catch {
    print(error)
    return -1
  }
}

/// Writes the calling thread's value; returns 0, or -1.
@_cdecl("first_write")
public func firstWrite(_ index: Int32, _ number: Int32) -> Int32 {
  do {
    try storages[Int(index)].withCurrent { $0.number = UInt64(number) }
    return 0
  } catch {
    print(error)
    return -1
  }
}

/// Returns the calling thread's value, or -1.
@_cdecl("first_read")
public func firstRead(_ index: Int32) -> Int32 {
  do {
    return try storages[Int(index)].withCurrent { Int32($0.number) }
  } catch {
    print(error)
    return -1
  }
}

/// Storages may be created in one copy of the library and used in another.
public func firstStorage(_ index: Int) -> TaskLocalStorage<FirstValue> { storages[index] }
