// SPDX-License-Identifier: Apache-2.0
/// Writes the Swift file with the object's bytes. An unchanged file keeps its date, so that nothing
/// else is rebuilt.
func writeSwift(_ job: Job) throws(Failure) {
  let object = try read(job.object)
  var text: [UInt8] = []
  text.reserveCapacity(object.count * 2 + 512)
  text +=
    """
    // Made by BPFPlugin from \(job.name).bpf.c; changes here are lost.
    @_spi(Generated) import \(job.module == "MmapStorage" ? "LibBPF" : "MmapStorage")
    extension BPFObjectImage {
      /// The BPF object file of `\(job.name).bpf.c`.
      static var \(job.identifier): BPFObjectImage {
        BPFObjectImage(name: "\(job.name)", hex: "
    """.utf8
  let digits = Array("0123456789abcdef".utf8)
  for byte in object {
    text.append(digits[Int(byte >> 4)])
    text.append(digits[Int(byte & 15)])
  }
  text += "\")\n  }\n}\n".utf8
  try writeIfChanged(text, to: job.swift)
}

/// Writes a file. An unchanged file keeps its date.
func writeIfChanged(_ text: [UInt8], to path: String) throws(Failure) {
  if (try? read(path)) == text { return }
  let previous = modificationTime(of: path)
  try write(text, to: path)
  if let previous { try setModificationTime(of: path, aSecondAfter: previous) }
}

/// The plan is an input of this build step. If clang read other files than planned, the plan gets a
/// new date, so that the next build runs this step again for a change of any of the files.
func compareWithPlan(_ job: Job) throws(Failure) {
  if try read(job.plan) != read(job.dependencies) { try touch(job.plan) }
}
