import Synchronization

/// Counts the calls that use a descriptor, so that it is closed after the last one and not under
/// it: a closed number may be another file's by the next instruction.
struct UseCount: ~Copyable {
  /// Bit 0: closed to new calls. Bit 1: someone has got the duty to release. Above: calls inside.
  private let state = Atomic<Int>(0)
  private static var closed: Int { 1 }
  private static var released: Int { 2 }
  private static var one: Int { 4 }

  /// Enters a call; false after ``close()``.
  func begin() -> Bool {
    let before = state.add(Self.one, ordering: .acquiring).oldValue
    return before & Self.closed == 0
  }

  /// Leaves a call, whether it was entered or refused; true means: release the descriptor now.
  func end() -> Bool {
    let after = state.subtract(Self.one, ordering: .acquiringAndReleasing).newValue
    return after == Self.closed && takeDuty()
  }

  /// Lets no more calls in; true means: release the descriptor now.
  func close() -> Bool {
    let after = state.bitwiseOr(Self.closed, ordering: .acquiringAndReleasing).newValue
    return after == Self.closed && takeDuty()
  }

  private func takeDuty() -> Bool {
    state.compareExchange(
      expected: Self.closed,
      desired: Self.closed | Self.released,
      ordering: .acquiringAndReleasing
    ).exchanged
  }
}
