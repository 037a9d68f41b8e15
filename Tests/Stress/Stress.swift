// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import TestSupport

/// Runs the drivers in turn, each with each backend that works here. A program instead of a test,
/// so that it can be built with a sanitizer, can fork, and can be killed.
///
///     stress [SECONDS] [SEED] [DRIVER...]
@main
enum Stress {
  private typealias Driver = (StressedBackend, Deadline) throws -> Int

  static func main() throws {
    var arguments = CommandLine.arguments.dropFirst()
    if arguments.first == "--list-descriptors" {
      for descriptor in inheritedDescriptors() { print("inherited: \(descriptor)") }
      exit(inheritedDescriptors().isEmpty ? 0 : 1)
    }
    let seconds = arguments.popFirst().map(Double.init) ?? 30
    let seed = arguments.popFirst().map(UInt64.init) ?? 1
    guard let seconds, seconds > 0, let seed else {
      writeError("usage: stress [SECONDS] [SEED] [DRIVER...]")
      exit(2)
    }
    let all: KeyValuePairs<String, Driver> = [
      "soak": { try soak($0, $1, seed: seed) },
      "signals": signals,
      "forks": forks,
      "execs": execs,
      "cancellations": cancellations,
      "thread-ends": threadEnds,
    ]
    let names = arguments.isEmpty ? all.map(\.key) : Array(arguments)
    if let unknown = names.first(where: { name in !all.contains { $0.key == name } }) {
      writeError(
        "stress: no driver '\(unknown)'; there are \(all.map(\.key).joined(separator: ", "))"
      )
      exit(2)
    }
    let drivers = all.filter { driver in
      guard names.contains(driver.key) else { return false }
      if driver.key == "cancellations", !Sanitizer.toleratesUnwinding {
        print("skipped: cancellations: AddressSanitizer does not see frames that are unwound")
        return false
      }
      if driver.key == "forks", !Sanitizer.toleratesForks {
        print("skipped: forks: sanitizers hold locks of their own across them")
        return false
      }
      return true
    }
    let backends = StressedBackend.allCases.filter { backend in
      if backend.mayRun { return true }
      print("skipped: \(backend): \(backend.obstacle ?? "")")
      return false
    }
    let share = seconds / Double(drivers.count * backends.count)
    for (name, driver) in drivers {
      for backend in backends {
        do {
          let count = try driver(backend, Deadline(after: share))
          guard count > 0 else { throw Unexpected(description: "did nothing") }
          print("\(name), \(backend): \(count)")
          fflush(nil)
        } catch {
          print("\(name), \(backend), seed \(seed): failed: \(error)")
          exit(1)
        }
      }
    }
  }
}

/// Writes a line to standard error.
func writeError(_ line: String) {
  let bytes = Array((line + "\n").utf8)
  _ = write(STDERR_FILENO, bytes, bytes.count)
}

/// The parts that drivers omit in a program that is built with a sanitizer.
enum Sanitizer {
  /// Sanitizers keep data for each thread, which a thread releases only at a regular end.
  static let toleratesExitCalls = test_sanitizer() == TEST_SANITIZER_NONE

  /// The child of a `fork` may never get a lock that another thread of its parent held. With
  /// ThreadSanitizer, the Swift runtime acquires such a lock at each use of a global or of metadata
  /// (`swift_once`); AddressSanitizer acquires one of its quarantine at each thread's end.
  static let toleratesForks = test_sanitizer() == TEST_SANITIZER_NONE

  /// The last rounds of destructors, in which no destructor may attach a thread: the library's own
  /// destructor needs one round, and ThreadSanitizer has ended the thread in the last.
  static let lastRounds = test_sanitizer() == TEST_SANITIZER_THREAD ? 2 : 1

  /// AddressSanitizer does not detect that `pthread_exit` and `pthread_cancel` unwind frames, and
  /// reports the next use of their part of the stack.
  static let toleratesUnwinding = test_sanitizer() != TEST_SANITIZER_ADDRESS
}

/// The time at which a driver stops.
struct Deadline: Sendable {
  private let end: ContinuousClock.Instant

  init(after seconds: Double) { end = .now + .seconds(seconds) }

  var isOver: Bool { .now >= end }
}
