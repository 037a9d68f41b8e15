// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim

/// The id of a Linux task, that is, of a thread, in the calling process's pid namespace (`gettid(2)`).
///
/// The kernel reuses an id after its thread has ended. To identify a thread that may have ended, use a pidfd
/// (``TaskReference/pidfd(_:)``).
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
