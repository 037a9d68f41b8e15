// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

/// Whether `MMAPSTORAGE_REQUIRE` requires a feature. Tests that need it then fail if it is missing.
func isRequired(_ feature: Substring) -> Bool {
  let required = getenv("MMAPSTORAGE_REQUIRE").map { String(cString: $0) } ?? ""
  return required.split(separator: ",").contains(feature)
}

extension Trait where Self == ConditionTrait {
  /// Skips the test if this process may not load BPF programs, and that is not required.
  static var liveKernel: Self {
    .enabled(if: geteuid() == 0 || isRequired("live"), "loading BPF programs needs root")
  }
}
