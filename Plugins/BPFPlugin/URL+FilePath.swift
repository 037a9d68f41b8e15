// SPDX-License-Identifier: Apache-2.0
import Foundation

extension URL {
  /// The path for file system calls: not percent-encoded, without a slash at the end.
  var filePath: String {
    let path = path(percentEncoded: false)
    return path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
  }
}
