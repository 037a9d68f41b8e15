// SPDX-License-Identifier: Apache-2.0
/// Makes the object file: runs clang, then removes the debug information that only debuggers read.
/// The BTF, which the kernel and libbpf read, stays.
func compile(_ job: Job) throws(Failure) {
  let unfinished = job.object + ".tmp"
  let clang = try run(
    job.clang + [
      "-MD", "-MF", job.dependencies, "-MT", job.object, "-c", job.source, "-o", unfinished,
    ]
  )
  writeToStandardError(clang.messages)
  if !clang.succeeded { throw Failure(advice(for: clang.messages)) }

  if let objcopy = neighbour(of: job.clang[0], named: "llvm-objcopy") {
    let strip = try run([objcopy, "--strip-debug", unfinished])
    writeToStandardError(strip.messages)
    if !strip.succeeded { throw Failure("\(objcopy) could not strip \(unfinished)") }
  }
  try rename(unfinished, to: job.object)
}

/// The package to install, or other advice, if clang's message alone does not contain it.
private func advice(for messages: String) -> String {
  func missing(_ header: String) -> Bool {
    messages.contains("'\(header)") && messages.contains("file not found")
  }
  if missing("bpf/") {
    return "libbpf's headers are not installed; run: sudo apt-get install libbpf-dev"
  }
  if missing("linux/") || missing("asm/") {
    return "the kernel's headers are not installed; run: sudo apt-get install linux-libc-dev"
  }
  if missing("vmlinux.h") {
    return "there is no vmlinux.h; declare the few kernel fields that the program needs, with "
      + "__attribute__((preserve_access_index)), or make the file with: "
      + "bpftool btf dump file /sys/kernel/btf/vmlinux format c"
  }
  return "clang refused the program"
}

/// The program of that name in the same folder, with links resolved, if it exists.
private func neighbour(of program: String, named name: String) -> String? {
  for path in [program, resolved(program)] {
    let folder = path.lastIndex(of: "/").map { path[...$0] } ?? ""
    if isExecutable(folder + name) { return folder + name }
  }
  return nil
}
