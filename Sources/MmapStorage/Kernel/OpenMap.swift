internal import CLibBPFShim
internal import SystemPackage

/// Keeps a map open, whatever happens to the ``BPFMap``, and calls the kernel on its elements.
///
/// An element call costs its system call and nothing else; it returns nil for success.
final class OpenMap: Sendable {
  private let map: BPFMap
  private let number: CInt

  var name: String { map.name }

  /// - Throws: ``BPFError/Kind/wrongState`` if the map is closed.
  init(_ map: BPFMap, for attempt: String) throws(BPFError) {
    self.map = map
    number = try map.beginUse(for: attempt)
  }

  deinit { map.endUse() }

  /// Copies the value of `key` out.
  func lookup(key: CInt, into value: UnsafeMutableRawPointer) -> Errno? {
    outcome(withUnsafePointer(to: key) { mms_map_lookup(number, $0, value, 0) })
  }

  /// Copies the value of `key` in.
  func update(key: CInt, value: UnsafeRawPointer, _ condition: UpdateCondition) -> Errno? {
    outcome(withUnsafePointer(to: key) { mms_map_update(number, $0, value, condition.rawValue) })
  }

  /// Deletes the value of `key`.
  func delete(key: CInt) -> Errno? {
    outcome(withUnsafePointer(to: key) { mms_map_delete(number, $0) })
  }

  /// Maps the calling thread's value, creating it if there is none; for a map with
  /// `BPF_F_MMAPABLE`.
  func mapOwnValue(size: Int) -> Result<UnsafeMutableRawPointer, Errno> {
    var address: UnsafeMutableRawPointer?
    let code = mms_map_shared(number, size, &address)
    if let address, code == 0 { return .success(address) }
    return .failure(Errno(rawValue: -code))
  }

  /// The same in the place of an earlier mapping.
  func mapOwnValue(size: Int, over address: UnsafeMutableRawPointer) -> Errno? {
    outcome(mms_map_shared_over(number, size, address))
  }

  /// Takes such a mapping away.
  func unmap(_ address: UnsafeMutableRawPointer, size: Int) { mms_unmap(address, size) }

  private func outcome(_ code: CInt) -> Errno? { code == 0 ? nil : Errno(rawValue: -code) }
}

/// When an update is done.
enum UpdateCondition: UInt64 {
  /// Whether there is a value or not (`BPF_ANY`).
  case always = 0
  /// Only if there is no value yet (`BPF_NOEXIST`).
  case isAbsent = 1
  /// Only if there is a value (`BPF_EXIST`).
  case exists = 2
}
