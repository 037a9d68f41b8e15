// SPDX-License-Identifier: Apache-2.0
// Compiles one BPF program, and writes Swift files with the object's bytes and with its types, maps,
// global variables and programs. Run by BPFPlugin.
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

do throws(Failure) {
  let job = try Job(arguments: Array(CommandLine.arguments.dropFirst()))
  try compile(job)
  try writeSwift(job)
  try writeBindings(job)
  try compareWithPlan(job)
} catch {
  printError(error)
  exit(1)
}
