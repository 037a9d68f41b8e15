import Glibc
import MmapStorage
import SystemPackage

/// Loads the program and pins its map for others.
func loadAndPin(at path: FilePath) throws -> BPFObject {
  let object = try BPFObject(.requestTags)
  try object.setGlobal("only_process", to: UInt32(getpid()))  // a constant from load() on
  try object.load()
  try object.setGlobal("lowest_priority", to: UInt32(2))  // the running program sees it at once

  let map = try object.map("request_tags")
  try map.pin(at: path)
  try object.attach()
  return object
}
