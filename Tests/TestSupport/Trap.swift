// SPDX-License-Identifier: Apache-2.0
internal import Glibc
package import Testing

extension ExitTest.Condition {
  /// The end of a process whose precondition failed.
  package static var trap: Self {
    #if arch(x86_64)
      .signal(SIGILL)
    #else
      .signal(SIGTRAP)
    #endif
  }
}
