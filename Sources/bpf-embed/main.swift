// SPDX-License-Identifier: Apache-2.0
// Compiles one BPF program and writes a Swift file with the object's bytes. Run by BPFPlugin.
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

do throws(Failure) {
  let job = try Job(arguments: Array(CommandLine.arguments.dropFirst()))
  try compile(job)
  try writeSwift(job)
  try compareWithPlan(job)
} catch {
  printError(error.message)
  exit(1)
}
