// SPDX-License-Identifier: Apache-2.0
public import CLibBPFShim
internal import Synchronization

// Invariant: an entry is complete before it is published, and is neither changed nor freed
// afterwards.

/// The places of the `Bool` properties in values of one type.
///
/// A C program may store any byte in a `bool`, but a Swift `Bool` whose byte is not 0 or 1 is
/// undefined behavior. A whole value is therefore normalized before it becomes a Swift value.
@usableFromInline
@safe
struct BooleanBytes {
  @usableFromInline
  let offsets: UnsafeBufferPointer<Int>

  /// Whether a described type may have `Bool` properties.
  ///
  /// `Optional` takes no additional byte if its value contains a `Bool` property: it uses one of
  /// the byte's invalid patterns. The comparison is therefore a constant in optimized code. It does
  /// not detect a `Bool` in a C union: describing such a type sets a flag of the process.
  @inlinable
  @inline(__always)
  static func mayExist<Value>(in type: Value.Type) -> Bool {
    MemoryLayout<Value?>.size == MemoryLayout<Value>.size || mms_unions_have_bools()
  }

  /// Returns the places of the `Bool` properties in `type`.
  ///
  /// - Precondition: `type` can be described as a layout. It can if it is the value of a storage or
  ///   a part of one, as creating a storage checks that.
  /// - Complexity: The first call for a type describes it. Later calls take a few nanoseconds and no
  ///   lock.
  @usableFromInline
  init<Value: MapField>(of type: Value.Type) {
    unsafe offsets = knownTypes.offsets(ofType: ObjectIdentifier(type)) {
      do {
        return booleanOffsets(of: try describe(type))
      } catch {
        preconditionFailure("\(type) cannot be loaded or stored as a whole: \(error)")
      }
    }
  }

  /// Sets each `Bool` byte of the value at `address` that is not 0 to 1.
  @usableFromInline
  func normalize(at address: FieldAddress) {
    for index in unsafe 0..<offsets.count {
      let flag = unsafe address.advanced(by: offsets[index])
      flag.store(flag.load(as: Bool.self))
    }
  }
}

/// Whether every bit pattern of `type` is known to be valid without a description, `Bool` aside.
/// Constant in optimized code.
@inlinable
@inline(__always)
func isStandardScalar<Value>(_ type: Value.Type) -> Bool {
  type == UInt8.self || type == Int8.self || type == UInt16.self || type == Int16.self
    || type == UInt32.self || type == Int32.self || type == UInt64.self || type == Int64.self
    || type == Int.self || type == UInt.self || type == Float.self || type == Double.self
    || type == Bool.self
}

private let knownTypes = OffsetTable()

/// Offsets by type. Entries are added and never removed, so that readers need no lock.
@safe
private struct OffsetTable: ~Copyable, @unchecked Sendable {
  @unsafe
  private struct Entry {
    let type: ObjectIdentifier
    let offsets: UnsafeBufferPointer<Int>
    let next: UnsafeMutablePointer<Entry>?
  }

  private let heads = unsafe InlineArray<64, Atomic<UnsafeMutablePointer<Entry>?>> { _ in
    unsafe Atomic(nil)
  }

  func offsets(
    ofType type: ObjectIdentifier,
    find: () -> [Int]
  ) -> UnsafeBufferPointer<Int> {
    let bucket = (UInt(bitPattern: type) &* 0x9e37_79b9_7f4a_7c15) >> 58
    var head = unsafe heads[Int(bucket)].load(ordering: .acquiring)
    var entry = unsafe head
    while let known = unsafe entry {
      if unsafe known.pointee.type == type { return unsafe known.pointee.offsets }
      unsafe entry = known.pointee.next
    }
    let found = find()
    let offsets = UnsafeMutableBufferPointer<Int>.allocate(capacity: found.count)
    _ = unsafe offsets.initialize(from: found)
    let new = UnsafeMutablePointer<Entry>.allocate(capacity: 1)
    while true {
      unsafe new.initialize(to: Entry(type: type, offsets: .init(offsets), next: head))
      let (added, current) = unsafe heads[Int(bucket)].compareExchange(
        expected: head,
        desired: new,
        ordering: .acquiringAndReleasing
      )
      if added { return .init(offsets) }
      unsafe head = current
    }
  }
}
