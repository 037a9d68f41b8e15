// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import SystemPackage

/// Loads the program and pins its map for others.
func loadAndPin(at path: FilePath) throws -> RequestTags {
  let tags = try RequestTags.open {
    $0.globals.callsLimit = 100  // constant after load()
  }.load(attaching: false)
  tags.globals.lowestPriority = 2  // visible to the running program

  try tags.object.map("request_tags").pin(at: path)
  try tags.object.attach()
  return tags
}
