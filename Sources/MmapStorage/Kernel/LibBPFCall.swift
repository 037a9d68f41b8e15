import CLibBPFShim
import SystemPackage

/// Runs `body`, and returns with its result what libbpf warned about on this thread meanwhile.
///
/// libbpf has one print function for the whole process. The first call installs one that keeps
/// the warnings of calls made through here, and hands on everything else to the function that was
/// there before. A host process that installs its own function later gets all the prints; the
/// errors of this library then lack them.
func capturingWarnings<Result: ~Copyable>(_ warnings: inout String, _ body: () -> Result) -> Result
{
  withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16 << 10) { text in
    guard let start = text.baseAddress else { return body() }
    var capture = mms_capture(text: start, size: text.count, length: 0, outer: nil)
    return withUnsafeMutablePointer(to: &capture) { capture in
      mms_capture_begin(capture)
      defer {
        mms_capture_end(capture)
        warnings = String(cString: start)
        while warnings.last?.isNewline == true { warnings.removeLast() }
      }
      return body()
    }
  }
}

extension BPFError {
  /// Makes an error of what the shim returned: an error number of the system's or of libbpf's own.
  ///
  /// `code` is the negative value; a `kind` or `advice` given replaces the one that fits most calls.
  init(
    _ kind: Kind? = nil,
    code: CInt,
    attempt: String,
    on object: String,
    advice: String? = nil,
    details: String = ""
  ) {
    let firstOfLibBPF = 4000
    let number = code.magnitude
    if number < firstOfLibBPF {
      let general = BPFError(
        errno: Errno(rawValue: CInt(number)),
        attempt: attempt,
        on: object,
        advice: advice,
        details: details
      )
      self.init(
        kind ?? general.kind,
        attempt: attempt,
        on: object,
        errno: general.errno,
        advice: general.advice,
        details: details
      )
    } else {
      let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { text in
        guard let start = text.baseAddress else { return "" }
        mms_strerror(CInt(number), start, text.count)
        return String(cString: start)
      }
      self.init(
        kind ?? .system,
        attempt: attempt,
        on: object,
        advice: [text, advice ?? ""].filter { !$0.isEmpty }.joined(separator: "; "),
        details: details
      )
    }
  }
}
