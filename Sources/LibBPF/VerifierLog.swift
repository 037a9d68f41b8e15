// SPDX-License-Identifier: Apache-2.0
import Glibc

/// The buffer for the log of the kernel's verifier. If there is no memory for it, there is no log.
struct VerifierLog {
  static let kept = 64 << 10

  let memory = try? MemoryMapping(
    size: 16 << 20,
    flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
  )

  /// The last ``kept`` bytes of the log.
  var text: String {
    guard let memory else { return "" }
    let length = memory.firstZero
    let omitted = max(0, length - Self.kept)
    var text = String(decoding: memory.copy(omitted..<length), as: UTF8.self)
    while text.last?.isNewline == true { text.removeLast() }
    return omitted > 0 ? "(\(omitted) bytes of log omitted)\n" + text : text
  }
}

/// What to do about frequent messages of the verifier (`kernel/bpf/verifier.c`).
let verifierAdvice: [(messages: [String], advice: String)] = [
  // The log also contains these types in the states of registers, there with "(" after them.
  (
    ["map_value_or_null'", "map_value_or_null expected", "map_value_or_null prohibited"],
    "the program uses a pointer to a map's value without a test for NULL; add 'if (!value) return 0;'"
  ),
  (
    ["'", "_'", " expected", "_ expected", " prohibited", "_ prohibited"].map { "_or_null" + $0 },
    "the program uses a pointer that may be NULL; test it first"
  ),
  (
    ["unknown func"],
    "this kernel has no such helper or kfunc, or does not allow it for this type of program"
  ),
  (["program of this type cannot use helper"], "call the helper from another type of program"),
  (
    ["GPL-restricted function from non-GPL"],
    "declare a license that the kernel accepts for it: "
      + "'char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";'"
  ),
  (["infinite loop detected"], "bound the loop, or use bpf_loop()"),
  (
    ["back-edge"],
    "this kernel does not allow this loop; unroll it with '#pragma unroll', or use bpf_loop()"
  ),
  (["BPF program is too large"], "the verifier gave up; split the program, or simplify its loops"),
  (["!read_ok"], "the program reads a variable that is not initialized on every path"),
]

/// Messages of the verifier about what it allows with CAP_PERFMON.
let needsPerfmon = [
  "cannot use helper", "unknown func", " leaks addr ", "pointer comparison prohibited",
  "attempt to corrupt spilled pointer", "invalid read from stack",
]
