public import CLibBPFShim

extension UInt8: ScalarBits {
  /// Loads once, with volatile semantics.
  @inlinable @inline(__always)
  public static func _load(_ address: UnsafeRawPointer) -> Self {
    mms_load8(address)
  }

  /// Stores once, with volatile semantics.
  @inlinable @inline(__always)
  public static func _store(_ address: UnsafeMutableRawPointer, _ value: Self) {
    mms_store8(address, value)
  }

  /// Loads atomically, ordered before what follows.
  @inlinable @inline(__always)
  public static func _loadAcquire(_ address: UnsafeRawPointer) -> Self {
    mms_load_acquire8(address)
  }

  /// Loads atomically, in one order with all such accesses.
  @inlinable @inline(__always)
  public static func _loadSequentiallyConsistent(_ address: UnsafeRawPointer) -> Self {
    mms_load_seq_cst8(address)
  }

  /// Stores atomically, ordered after what went before.
  @inlinable @inline(__always)
  public static func _storeRelease(_ address: UnsafeMutableRawPointer, _ value: Self) {
    mms_store_release8(address, value)
  }

  /// Stores atomically, in one order with all such accesses.
  @inlinable @inline(__always)
  public static func _storeSequentiallyConsistent(_ address: UnsafeMutableRawPointer, _ value: Self)
  {
    mms_store_seq_cst8(address, value)
  }

  /// Adds atomically, wrapping around; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchAdd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_add8(address, value)
  }

  /// Clears bits atomically; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchAnd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_and8(address, value)
  }

  /// Sets bits atomically; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchOr(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_or8(address, value)
  }

  /// Replaces the number atomically; gives the one from before.
  @inlinable @inline(__always)
  public static func _exchange(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_exchange8(address, value)
  }

  /// Replaces the number atomically if it is `expected`; otherwise puts it into `expected`.
  @inlinable @inline(__always)
  public static func _compareExchange(
    _ address: UnsafeMutableRawPointer,
    _ expected: inout Self,
    _ desired: Self
  ) -> Bool {
    mms_compare_exchange8(address, &expected, desired)
  }
}

extension UInt16: ScalarBits {
  /// Loads once, with volatile semantics.
  @inlinable @inline(__always)
  public static func _load(_ address: UnsafeRawPointer) -> Self {
    mms_load16(address)
  }

  /// Stores once, with volatile semantics.
  @inlinable @inline(__always)
  public static func _store(_ address: UnsafeMutableRawPointer, _ value: Self) {
    mms_store16(address, value)
  }

  /// Loads atomically, ordered before what follows.
  @inlinable @inline(__always)
  public static func _loadAcquire(_ address: UnsafeRawPointer) -> Self {
    mms_load_acquire16(address)
  }

  /// Loads atomically, in one order with all such accesses.
  @inlinable @inline(__always)
  public static func _loadSequentiallyConsistent(_ address: UnsafeRawPointer) -> Self {
    mms_load_seq_cst16(address)
  }

  /// Stores atomically, ordered after what went before.
  @inlinable @inline(__always)
  public static func _storeRelease(_ address: UnsafeMutableRawPointer, _ value: Self) {
    mms_store_release16(address, value)
  }

  /// Stores atomically, in one order with all such accesses.
  @inlinable @inline(__always)
  public static func _storeSequentiallyConsistent(_ address: UnsafeMutableRawPointer, _ value: Self)
  {
    mms_store_seq_cst16(address, value)
  }

  /// Adds atomically, wrapping around; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchAdd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_add16(address, value)
  }

  /// Clears bits atomically; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchAnd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_and16(address, value)
  }

  /// Sets bits atomically; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchOr(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_or16(address, value)
  }

  /// Replaces the number atomically; gives the one from before.
  @inlinable @inline(__always)
  public static func _exchange(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_exchange16(address, value)
  }

  /// Replaces the number atomically if it is `expected`; otherwise puts it into `expected`.
  @inlinable @inline(__always)
  public static func _compareExchange(
    _ address: UnsafeMutableRawPointer,
    _ expected: inout Self,
    _ desired: Self
  ) -> Bool {
    mms_compare_exchange16(address, &expected, desired)
  }
}

extension UInt32: ScalarBits {
  /// Loads once, with volatile semantics.
  @inlinable @inline(__always)
  public static func _load(_ address: UnsafeRawPointer) -> Self {
    mms_load32(address)
  }

  /// Stores once, with volatile semantics.
  @inlinable @inline(__always)
  public static func _store(_ address: UnsafeMutableRawPointer, _ value: Self) {
    mms_store32(address, value)
  }

  /// Loads atomically, ordered before what follows.
  @inlinable @inline(__always)
  public static func _loadAcquire(_ address: UnsafeRawPointer) -> Self {
    mms_load_acquire32(address)
  }

  /// Loads atomically, in one order with all such accesses.
  @inlinable @inline(__always)
  public static func _loadSequentiallyConsistent(_ address: UnsafeRawPointer) -> Self {
    mms_load_seq_cst32(address)
  }

  /// Stores atomically, ordered after what went before.
  @inlinable @inline(__always)
  public static func _storeRelease(_ address: UnsafeMutableRawPointer, _ value: Self) {
    mms_store_release32(address, value)
  }

  /// Stores atomically, in one order with all such accesses.
  @inlinable @inline(__always)
  public static func _storeSequentiallyConsistent(_ address: UnsafeMutableRawPointer, _ value: Self)
  {
    mms_store_seq_cst32(address, value)
  }

  /// Adds atomically, wrapping around; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchAdd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_add32(address, value)
  }

  /// Clears bits atomically; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchAnd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_and32(address, value)
  }

  /// Sets bits atomically; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchOr(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_or32(address, value)
  }

  /// Replaces the number atomically; gives the one from before.
  @inlinable @inline(__always)
  public static func _exchange(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_exchange32(address, value)
  }

  /// Replaces the number atomically if it is `expected`; otherwise puts it into `expected`.
  @inlinable @inline(__always)
  public static func _compareExchange(
    _ address: UnsafeMutableRawPointer,
    _ expected: inout Self,
    _ desired: Self
  ) -> Bool {
    mms_compare_exchange32(address, &expected, desired)
  }
}

extension UInt64: ScalarBits {
  /// Loads once, with volatile semantics.
  @inlinable @inline(__always)
  public static func _load(_ address: UnsafeRawPointer) -> Self {
    mms_load64(address)
  }

  /// Stores once, with volatile semantics.
  @inlinable @inline(__always)
  public static func _store(_ address: UnsafeMutableRawPointer, _ value: Self) {
    mms_store64(address, value)
  }

  /// Loads atomically, ordered before what follows.
  @inlinable @inline(__always)
  public static func _loadAcquire(_ address: UnsafeRawPointer) -> Self {
    mms_load_acquire64(address)
  }

  /// Loads atomically, in one order with all such accesses.
  @inlinable @inline(__always)
  public static func _loadSequentiallyConsistent(_ address: UnsafeRawPointer) -> Self {
    mms_load_seq_cst64(address)
  }

  /// Stores atomically, ordered after what went before.
  @inlinable @inline(__always)
  public static func _storeRelease(_ address: UnsafeMutableRawPointer, _ value: Self) {
    mms_store_release64(address, value)
  }

  /// Stores atomically, in one order with all such accesses.
  @inlinable @inline(__always)
  public static func _storeSequentiallyConsistent(_ address: UnsafeMutableRawPointer, _ value: Self)
  {
    mms_store_seq_cst64(address, value)
  }

  /// Adds atomically, wrapping around; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchAdd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_add64(address, value)
  }

  /// Clears bits atomically; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchAnd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_and64(address, value)
  }

  /// Sets bits atomically; gives the number from before.
  @inlinable @inline(__always)
  public static func _fetchOr(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_fetch_or64(address, value)
  }

  /// Replaces the number atomically; gives the one from before.
  @inlinable @inline(__always)
  public static func _exchange(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self {
    mms_exchange64(address, value)
  }

  /// Replaces the number atomically if it is `expected`; otherwise puts it into `expected`.
  @inlinable @inline(__always)
  public static func _compareExchange(
    _ address: UnsafeMutableRawPointer,
    _ expected: inout Self,
    _ desired: Self
  ) -> Bool {
    mms_compare_exchange64(address, &expected, desired)
  }
}
