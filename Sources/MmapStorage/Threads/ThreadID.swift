// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim

/// The id of a Linux task, that is, of one thread, as `gettid(2)` gives it in the calling process's
/// pid namespace.
///
/// The kernel uses an id again once its thread has ended. Code that must not mistake a new thread
/// for an old one holds a pidfd instead (``TaskReference/pidfd(_:)``).
public struct ThreadID: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  /// The number.
  public var rawValue: Int32

  /// Wraps a number.
  public init(rawValue: Int32) { self.rawValue = rawValue }

  /// The calling thread's id. One system call.
  public static var current: ThreadID { ThreadID(rawValue: mms_gettid()) }

  /// The number as text.
  public var description: String { "\(rawValue)" }
}
