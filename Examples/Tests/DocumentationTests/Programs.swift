// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import SystemPackage

/// Loads the program and pins its map for others.
func loadAndPin(at path: FilePath) throws -> BPFObject {
  let object = try BPFObject(.requestTags)
  try object.setGlobal("only_process", to: UInt32(getpid()))  // constant after load()
  try object.load()
  try object.setGlobal("lowest_priority", to: UInt32(2))  // visible to the running program

  let map = try object.map("request_tags")
  try map.pin(at: path)
  try object.attach()
  return object
}
