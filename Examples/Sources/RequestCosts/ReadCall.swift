// SPDX-License-Identifier: Apache-2.0
import MmapStorage

/// `struct read_call` of costs-programs.bpf.c: the last read of a thread outside of any request.
struct ReadCall: MapValue, BitwiseCopyable, Sendable {
  var callClass: UInt64 = 0
  var calls: UInt64 = 0
  var kernelTime: UInt64 = 0
  var callTime: UInt64 = 0
  var bytesRead: UInt64 = 0
  var tcpReceived: UInt64 = 0
}

extension TaskLocalStorage<ReadCall> {
  /// The costs of the last read of the calling thread, returned once for each read. The programs
  /// have added them to the costs outside of requests.
  func take() throws -> KernelCosts? {
    try withCurrent { call -> KernelCosts? in
      let index = Int(clamping: call.callClass)
      guard call.calls != 0, let callClass = SystemCallClass(rawValue: index) else { return nil }
      call.calls = 0
      var costs = KernelCosts()
      costs.kernelTime = call.kernelTime
      costs.calls[callClass.rawValue] = 1
      costs.callTime[callClass.rawValue] = call.callTime
      costs.bytesRead = call.bytesRead
      costs.tcpReceived = call.tcpReceived
      return costs
    }
  }
}
