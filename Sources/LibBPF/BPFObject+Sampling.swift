// SPDX-License-Identifier: Apache-2.0
import CLibBPFShim
import Glibc
import SystemPackage

extension BPFObject.Program {
  /// Attaches the program, of section "perf_event", to the software clock of each processor
  /// (`PERF_COUNT_SW_CPU_CLOCK`). The program runs `frequency` times a second on each processor, also on an
  /// idle one. Does nothing if the program is already attached.
  ///
  /// Each sample costs an interrupt and a run of the program.
  ///
  /// - Parameter frequency: Samples per second, at least 1. The limit is
  ///   `kernel.perf_event_max_sample_rate`.
  /// - Throws: ``BPFError/Kind/invalidArgument``, ``BPFError/Kind/permissionDenied`` (needs CAP_PERFMON),
  ///   ``BPFError/Kind/unsupported`` if the kernel has no perf events, ``BPFError/Kind/wrongState`` if
  ///   it is not loaded, or another system error of `perf_event_open(2)`. No processor is sampled then.
  public func attach(samplingAt frequency: Int) throws(BPFError) {
    let attempt = "attach program '\(name)' to the clock of each processor"
    guard let frequency = UInt32(exactly: frequency), frequency > 0 else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: object.describedName,
        advice: "pass a frequency of at least 1"
      )
    }
    try object.withState { (state) throws(BPFError) in
      let loaded = try state.loaded(for: attempt, on: object.describedName)
      let program = try object.findProgram(name, in: loaded, attempt: attempt)
      guard program.autoload else { throw notLoaded(attempt) }
      guard !state.isAttached(name) else { return }
      // Detached if this throws.
      var made: [LibBPFLink] = []
      for processor in 0..<max(1, sysconf(CInt(_SC_NPROCESSORS_CONF))) {
        let event = mms_open_clock_event(CInt(truncatingIfNeeded: processor), frequency)
        // The processor is not online.
        if event == -ENODEV || event == -EINVAL && processor > 0 { continue }
        guard event >= 0 else {
          throw BPFError(
            event == -ENOENT ? .unsupported : nil,
            code: event,
            attempt: attempt,
            on: object.describedName,
            advice: event == -EINVAL
              ? "the frequency is above kernel.perf_event_max_sample_rate" : nil
          )
        }
        var warnings = ""
        var code: CInt = 0
        let link = program.attach(toEvent: event, warnings: &warnings, code: &code)
        guard let link else {
          closeDescriptor(event)
          throw BPFError(
            code: code,
            attempt: attempt,
            on: object.describedName,
            advice: "the section of the program must be 'perf_event'",
            details: warnings
          )
        }
        made.append(link)
      }
      state.links[name] = made
    }
  }
}
