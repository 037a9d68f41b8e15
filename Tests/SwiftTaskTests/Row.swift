// SPDX-License-Identifier: Apache-2.0
import MmapStorage

/// One way in which Swift code continues: the code of a request, and the number of its calls.
struct Row: Sendable {
  let name: String
  /// Calls in one run of `body`.
  let calls: Int
  /// Whether the calls belong to the request, or to no request.
  let isInside: Bool
  /// Whether the calls are made on threads that run no Swift tasks.
  let isOnForeignThreads: Bool
  let body: @Sendable (Caller) async throws -> Void

  init(
    _ name: String,
    calls: Int,
    isInside: Bool = true,
    isOnForeignThreads: Bool = false,
    _ body: @escaping @Sendable (Caller) async throws -> Void
  ) {
    self.name = name
    self.calls = calls
    self.isInside = isInside
    self.isOnForeignThreads = isOnForeignThreads
    self.body = body
  }
}

/// The functions for a row's code.
struct Caller: Sendable {
  let program: RequestProgram
  let requests: SwiftTaskStorage<Request>
  let id: UInt64
  let row: Int

  /// A request inside this one.
  var inner: Caller { Caller(program: program, requests: requests, id: id | 1 << 40, row: row) }

  /// The system call that the program compares.
  func call() { program.call(id, row: row) }

  /// The call on a thread that other requests also use.
  func hopAndCall() async {
    await Task.yield()
    call()
  }
}
