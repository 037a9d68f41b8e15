// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// Counts the calls that use a descriptor, so that the last one closes it.
///
/// The number of a closed descriptor may be reused immediately, so a descriptor must not be closed
/// while a call uses it.
struct InFlightCalls: ~Copyable {
  /// Bit 0: closed to new calls. Bit 1: the release was claimed. Above: calls in flight.
  private let state = Atomic<Int>(0)
  private static var closed: Int { 1 }
  private static var released: Int { 2 }
  private static var one: Int { 4 }

  /// Registers a call. Returns `false` after ``close()``; ``end()`` must be called either way.
  func begin() -> Bool {
    let before = state.add(Self.one, ordering: .acquiring).oldValue
    return before & Self.closed == 0
  }

  /// Unregisters a call. Returns `true` if the caller must close the descriptor.
  func end() -> Bool {
    let after = state.subtract(Self.one, ordering: .acquiringAndReleasing).newValue
    return after == Self.closed && claimRelease()
  }

  /// Rejects new calls. Returns `true` if the caller must close the descriptor.
  func close() -> Bool {
    let after = state.bitwiseOr(Self.closed, ordering: .acquiringAndReleasing).newValue
    return after == Self.closed && claimRelease()
  }

  private func claimRelease() -> Bool {
    state.compareExchange(
      expected: Self.closed,
      desired: Self.closed | Self.released,
      ordering: .acquiringAndReleasing
    ).exchanged
  }
}
