// SPDX-License-Identifier: Apache-2.0
public import MmapStorage

/// The kernel-side costs of a request, a route or a process: `struct costs` of costs-programs.bpf.c.
/// Times are in nanoseconds.
public struct KernelCosts: MapValue, BitwiseCopyable, Sendable {
  /// Processor time in system calls. Exact.
  public var kernelTime: UInt64 = 0
  /// Other processor time, attributed by samples.
  public var userTime: UInt64 = 0
  /// Samples that found a thread in the request.
  public var samples: UInt64 = 0
  /// Time in which a thread was runnable without a processor.
  public var runQueueTime: UInt64 = 0
  /// The number of waits for a processor.
  public var runQueueWaits: UInt64 = 0
  /// Time in which a thread was blocked, by ``BlockingCause``.
  public var blockedTime: InlineArray<7, UInt64> = InlineArray(repeating: 0)
  /// System calls, by ``SystemCallClass``. Exact.
  public var calls: InlineArray<9, UInt64> = InlineArray(repeating: 0)
  /// Time from the entry to the exit of system calls, waiting included, by ``SystemCallClass``.
  public var callTime: InlineArray<9, UInt64> = InlineArray(repeating: 0)
  /// Page faults of code outside of the kernel.
  public var pageFaults: UInt64 = 0
  /// Bytes that read calls returned.
  public var bytesRead: UInt64 = 0
  /// Bytes that write calls accepted.
  public var bytesWritten: UInt64 = 0
  /// Bytes received from TCP sockets.
  public var tcpReceived: UInt64 = 0
  /// Bytes sent to TCP sockets.
  public var tcpSent: UInt64 = 0

  /// Zero costs.
  public init() {}

  /// All processor time.
  public var processorTime: UInt64 { kernelTime &+ userTime }
  /// All time in which a thread was blocked.
  public var totalBlockedTime: UInt64 { blockedTime.sum }
  /// All system calls.
  public var totalCalls: UInt64 { calls.sum }

  /// Adds other costs to these.
  public static func += (costs: inout KernelCosts, other: KernelCosts) {
    costs.combine(other, &+)
  }

  /// The costs since an earlier reading.
  public func since(_ earlier: KernelCosts) -> KernelCosts {
    var difference = self
    // Readings are not atomic.
    difference.combine(earlier) { $0 >= $1 ? $0 - $1 : 0 }
    return difference
  }

  @inline(__always)
  private mutating func combine(_ other: KernelCosts, _ operation: (UInt64, UInt64) -> UInt64) {
    kernelTime = operation(kernelTime, other.kernelTime)
    userTime = operation(userTime, other.userTime)
    samples = operation(samples, other.samples)
    runQueueTime = operation(runQueueTime, other.runQueueTime)
    runQueueWaits = operation(runQueueWaits, other.runQueueWaits)
    pageFaults = operation(pageFaults, other.pageFaults)
    bytesRead = operation(bytesRead, other.bytesRead)
    bytesWritten = operation(bytesWritten, other.bytesWritten)
    tcpReceived = operation(tcpReceived, other.tcpReceived)
    tcpSent = operation(tcpSent, other.tcpSent)
    for index in blockedTime.indices {
      blockedTime[index] = operation(blockedTime[index], other.blockedTime[index])
    }
    for index in calls.indices {
      calls[index] = operation(calls[index], other.calls[index])
      callTime[index] = operation(callTime[index], other.callTime[index])
    }
  }
}

/// The cause of a wait; the raw values are those of `enum cause` in C.
public enum BlockingCause: Int, CaseIterable, Sendable {
  /// Another thread, such as one that holds a lock.
  case futex
  /// A file or a pipe.
  case file
  /// A socket.
  case socket
  /// `nanosleep` and similar calls.
  case sleep
  /// Any of several descriptors. Includes idle event loops.
  case poll
  /// A page that was not in memory.
  case fault
  /// Something else, such as a signal or a debugger that stops the process.
  case other
}

/// A class of system calls; the raw values are those of `enum call_class` in C.
public enum SystemCallClass: Int, CaseIterable, Sendable {
  /// `read` and `write` in all forms, also of sockets.
  case io
  /// Other calls for files and descriptors.
  case file
  /// Calls for sockets only.
  case socket
  /// `epoll_wait` and similar calls.
  case poll
  /// `futex`.
  case futex
  /// Clocks, timers and sleeping.
  case time
  /// Mappings.
  case memory
  /// Ids of the process and the user: `getpid` and similar calls.
  case process
  /// All others.
  case other
}

/// `struct request` of costs-programs.bpf.c: the value of a request's Swift tasks.
public struct RequestValue: MapValue, BitwiseCopyable, Sendable {
  /// The number of the request in this process, from 1.
  public var id: UInt64 = 0
  /// The upper half of the trace id; 0 if there is none.
  public var traceIDHigh: UInt64 = 0
  /// The lower half of the trace id.
  public var traceIDLow: UInt64 = 0
  /// The costs of the request so far.
  public var costs = KernelCosts()

  /// A request without costs.
  public init() {}
}

/// `struct process` of costs-programs.bpf.c.
struct ProcessValue: MapValue, BitwiseCopyable, Sendable {
  var outside = KernelCosts()
  var execID: UInt64 = 0
  var registered: UInt64 = 0
}

extension InlineArray where Element == UInt64 {
  fileprivate var sum: UInt64 { indices.reduce(0) { $0 &+ self[$1] } }
}
