// SPDX-License-Identifier: Apache-2.0
import BPFBindings
import Foundation
import LibBPF
import Testing

/// The bytes of the object that clang compiles from a source.
func object(_ source: String) throws -> [UInt8] {
  let directory = FileManager.default.temporaryDirectory
    .appending(path: "bindings-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: directory) }
  let file = directory.appending(path: "test.bpf.c")
  let object = directory.appending(path: "test.o")
  try source.write(to: file, atomically: true, encoding: .utf8)
  let clang = Process()
  clang.executableURL = URL(filePath: "/usr/bin/env")
  clang.arguments = [
    "clang", "-target", "bpf", "-O2", "-g", "-c", file.path(), "-o", object.path(),
  ]
  try clang.run()
  clang.waitUntilExit()
  try #require(clang.terminationStatus == 0)
  return [UInt8](try Data(contentsOf: object))
}

/// The text that is generated for an object.
func text(
  of object: [UInt8],
  typeName: String = "Test",
  isPublic: Bool = false
) throws -> String {
  try bindings(
    for: BPFObject.open(bytes: object, name: "test"),
    options: BindingOptions(
      name: "test",
      identifier: "test",
      typeName: typeName,
      isPublic: isPublic
    )
  )
}

func text(
  _ source: String,
  typeName: String = "Test",
  isPublic: Bool = false
) throws -> String {
  try text(of: object(source), typeName: typeName, isPublic: isPublic)
}

/// The error of the generator for a source.
func error(_ source: String) throws -> BindingError {
  try #require(throws: BindingError.self) { try text(source) }
}
