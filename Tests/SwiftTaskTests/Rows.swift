// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import MmapStorage
import TestSupport

/// The table of the documentation, in its order.
let rows: [Row] = [
  Row("await and Task.yield()", calls: 6) { caller in
    for _ in 0..<5 { await caller.hopAndCall() }
    caller.call()
  },
  Row("@concurrent function", calls: 2) { caller in
    await concurrent(caller)
    caller.call()
  },
  Row("async let", calls: 4) { caller in
    async let first: Void = caller.hopAndCall()
    async let second: Void = caller.hopAndCall()
    await caller.hopAndCall()
    _ = await (first, second)
    caller.call()
  },
  Row("task group of 100", calls: 101) { caller in
    await withTaskGroup { group in
      for _ in 0..<100 { group.addTask { await caller.hopAndCall() } }
    }
    caller.call()
  },
  Row("discarding task group of 100", calls: 101) { caller in
    await withDiscardingTaskGroup { group in
      for _ in 0..<100 { group.addTask { await caller.hopAndCall() } }
    }
    caller.call()
  },
  Row("Task.sleep", calls: 2) { caller in
    try await Task.sleep(for: .microseconds(50))
    caller.call()
    await caller.hopAndCall()
  },
  Row("cancelled Task.sleep", calls: 2) { caller in
    let sleeper = Task {
      try? await Task.sleep(for: .seconds(60))
      caller.call()
    }
    await Task.yield()
    sleeper.cancel()
    await sleeper.value
    caller.call()
  },
  Row("cancellation handler", calls: 3) { caller in
    let sleeper = Task {
      await withTaskCancellationHandler {
        try? await Task.sleep(for: .seconds(60))
        caller.call()
      } onCancel: {
        caller.call()
      }
    }
    await Task.yield()
    sleeper.cancel()
    await sleeper.value
    caller.call()
  },
  Row("thrown error", calls: 2) { caller in
    struct Failure: Error {}
    do {
      await caller.hopAndCall()
      throw Failure()
    } catch {
      await caller.hopAndCall()
    }
  },
  Row("priorities", calls: 3) { caller in
    for priority in [TaskPriority.background, .medium, .high] {
      await Task(priority: priority) { await caller.hopAndCall() }.value
    }
  },
  Row("continuation resumed by another thread", calls: 2) { caller in
    await caller.hopAndCall()
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      resumer.async { continuation.resume() }
    }
    caller.call()
  },
  Row("AsyncStream", calls: 5) { caller in
    let (stream, continuation) = AsyncStream.makeStream(of: Int.self)
    let producer = Task {
      await caller.hopAndCall()
      for number in 0..<3 {
        await Task.yield()
        continuation.yield(number)
      }
      continuation.finish()
    }
    for await _ in stream { caller.call() }
    await producer.value
    caller.call()
  },
  Row("nested scopes: inner, then outer", calls: 4) { caller in
    await caller.hopAndCall()
    let inner = caller.inner
    await caller.requests.withValue({ $0.id = inner.id }) {
      await inner.hopAndCall()
      inner.call()
    }
    await caller.hopAndCall()
  },
  Row("default actor of its own", calls: 2) { caller in
    let actor = DefaultActor()
    await actor.callOnce(caller)
    await caller.hopAndCall()
  },
  Row("default actor shared, inside", calls: 2) { caller in
    await Task.yield()
    await sharedActor.callOnce(caller)
    await sharedActor.callOnce(caller)
  },
  Row("default actor shared, after", calls: 2) { caller in
    await Task.yield()
    await sharedActor.doNothing()
    caller.call()
    await sharedActor.doNothing()
    caller.call()
  },
  Row("actor method that suspends", calls: 3) { caller in
    await sharedActor.callAroundSuspensions(caller)
  },
  Row("actor with an executor of its own", calls: 3) { caller in
    await queueActor.callAroundSuspensions(caller)
    caller.call()
  },
  Row("@MainActor", calls: 3) { caller in
    await callOnMainActor(caller)
    await caller.hopAndCall()
  },
  Row("Task {} before an await", calls: 1) { caller in
    await Task { await caller.hopAndCall() }.value
  },
  Row("Task {} after an await", calls: 2) { caller in
    await caller.hopAndCall()
    await Task { await caller.hopAndCall() }.value
  },
  Row("Task.immediate", calls: 3) { caller in
    await Task.yield()
    let immediate = Task.immediate {
      caller.call()
      await caller.hopAndCall()
    }
    caller.call()
    await immediate.value
  },
  Row("group.addImmediateTask", calls: 21) { caller in
    await Task.yield()
    await withTaskGroup { group in
      for _ in 0..<10 {
        group.addImmediateTask {
          caller.call()
          await caller.hopAndCall()
        }
      }
    }
    caller.call()
  },
  Row("task executor: Dispatch queue", calls: 3) { caller in
    await withTaskExecutorPreference(QueueExecutor.shared) {
      caller.call()
      await caller.hopAndCall()
    }
    await caller.hopAndCall()
  },
  Row("task executor: pool of threads", calls: 3) { caller in
    await withTaskExecutorPreference(PoolExecutor.shared) {
      caller.call()
      await caller.hopAndCall()
    }
    await caller.hopAndCall()
  },
  Row("synchronous scope in a Dispatch block", calls: 2) { caller in
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      resumer.async {
        let inner = caller.inner
        caller.requests.withValue({ $0.id = inner.id }) { inner.call() }
        continuation.resume()
      }
    }
    caller.call()
  },
  Row("Task {} of a synchronous scope", calls: 1) { caller in
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      resumer.async {
        let inner = caller.inner
        caller.requests.withValue({ $0.id = inner.id }) {
          _ = Task {
            await inner.hopAndCall()
            continuation.resume()
          }
        }
      }
    }
  },
  Row("Task.detached", calls: 2, isInside: false) { caller in
    await Task.detached { await caller.hopAndCall() }.value
    await withTaskGroup { group in
      group.addTask { await Task.detached { await caller.hopAndCall() }.value }
    }
  },
  Row("Task.immediateDetached", calls: 2, isInside: false) { caller in
    await Task.yield()
    await Task.immediateDetached {
      caller.call()
      await caller.hopAndCall()
    }.value
  },
  Row("block of a Dispatch queue", calls: 1, isInside: false, isOnForeignThreads: true) { caller in
    await Task.yield()
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      resumer.async {
        caller.call()
        continuation.resume()
      }
    }
  },
]

private let resumer = DispatchQueue(label: "resumer", attributes: .concurrent)
private let sharedActor = DefaultActor()
private let queueActor = QueueActor()

@concurrent private func concurrent(_ caller: Caller) async {
  await caller.hopAndCall()
}

@MainActor private func callOnMainActor(_ caller: Caller) async {
  caller.call()
  await caller.hopAndCall()
}

private actor DefaultActor {
  var count = 0

  func callOnce(_ caller: Caller) {
    caller.call()
    count += 1
  }

  func doNothing() { count += 1 }

  func callAroundSuspensions(_ caller: Caller) async {
    caller.call()
    await caller.hopAndCall()
    await concurrent(caller)
  }
}

private actor QueueActor {
  private static let executor = SerialQueueExecutor()

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    Self.executor.asUnownedSerialExecutor()
  }

  func callAroundSuspensions(_ caller: Caller) async {
    caller.call()
    await caller.hopAndCall()
  }
}
