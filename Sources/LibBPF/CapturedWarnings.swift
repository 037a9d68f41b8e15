// SPDX-License-Identifier: Apache-2.0
import CLibBPFShim

// Invariant: the buffer and the capture outlive the calls of libbpf that write to them.

/// Runs a libbpf call and stores the warnings that libbpf prints on this thread meanwhile.
///
/// libbpf has one print function for the process. The first call installs one that captures the
/// warnings of calls made with this function, drops their other output, and passes the output of
/// other calls to the previous function. A process that installs its own print function later
/// receives all output; errors of this module then lack libbpf's warnings.
func capturingWarnings<Result: ~Copyable>(
  _ warnings: inout String,
  _ body: () -> Result
) -> Result {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16 << 10) { text in
    guard let start = text.baseAddress else { return body() }
    var capture = unsafe mms_capture(text: start, size: text.count, length: 0, outer: nil)
    return unsafe withUnsafeMutablePointer(to: &capture) { capture in
      unsafe mms_capture_begin(capture)
      defer {
        unsafe mms_capture_end(capture)
        warnings = unsafe String(cString: start)
        while warnings.last?.isNewline == true { warnings.removeLast() }
      }
      return body()
    }
  }
}
