// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import LibBPF
internal import SystemPackage

/// The Swift runtime of this process, for errors.
package struct SwiftRuntime: Sendable, Hashable {
  /// The version of the layout that the runtime exports for debuggers; `nil` if it exports none.
  package let layoutVersion: UInt32?

  /// The file with the runtime's code: libswift_Concurrency, or the executable if it is linked statically. May
  /// be empty.
  package let path: String

  /// The runtime of this process.
  package static let current: SwiftRuntime = {
    let version = mms_swift_layout_version()
    return SwiftRuntime(layoutVersion: UInt32(exactly: version), path: findPath())
  }()

  static func unsupported(
    _ attempt: String,
    step: String,
    errno: Errno? = nil,
    details: String = ""
  ) -> BPFError {
    if let errno, [.tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory].contains(errno) {
      // The error does not depend on the runtime.
      return BPFError(errno: errno, attempt: attempt, on: "step '\(step)'", details: details)
    }
    return BPFError(
      .unsupported,
      attempt: attempt,
      on: "\(SwiftRuntime.current)",
      errno: errno,
      advice: "this step failed: \(step); programs cannot find Swift tasks here, so the storage "
        + "is not used; use a Swift release that the documentation names, or report this one",
      details: details
    )
  }
}

extension SwiftRuntime: CustomStringConvertible {
  /// One line, such as "Swift runtime with layout version 1 in '/usr/lib/libswift_Concurrency.so'".
  package var description: String {
    let version = layoutVersion.map { "layout version \($0)" } ?? "no layout version"
    return "Swift runtime with \(version)" + (path.isEmpty ? "" : " in '\(path)'")
  }
}
