// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF

/// Checks that the program and Swift agree in each situation that the runtime handles differently.
struct SwiftTaskVerification: Sendable {
  let slots: SwiftTaskSlots
  let control: SwiftTaskControl
  let attempt: String

  /// - Throws: ``BPFError/Kind/unsupported`` with the first step that differs.
  func run() async throws(BPFError) {
    // A scope of the caller would affect the following steps.
    let outcome = await Task.detached { await verify() }.value
    try outcome.get()
  }

  private func verify() async -> Result<Void, BPFError> {
    let outside = check(0, "in a Swift task outside of any scope")
    guard case .success = outside else { return outside }
    return await slots.withBinding { outer in
      // Without a second slot, the inner scope has none, and the program must not find the outer
      // one.
      await slots.withBinding { inner in await verify(outer, inner) }
    }
  }

  private func verify(
    _ outer: SwiftTaskBinding,
    _ inner: SwiftTaskBinding
  ) async -> Result<Void, BPFError> {
    do throws(BPFError) {
      guard outer.lease != nil else {
        throw BPFError(
          .outOfResources,
          attempt: attempt,
          on: "the slots",
          advice: "all \(slots.count) are in use, and none is free for the verification; a process "
            + "takes \(SwiftTaskSlots.batch) at a time: declare at least that many for each process"
        )
      }
      try await slots.local.withValue(outer) { () -> Result<Void, BPFError> in
        await steps(outer.tag, inner)
      }.get()
      try expect(0, "after the scope")
      try await onSecondThread(outer)
      return .success(())
    } catch {
      return .failure(error)
    }
  }

  private func steps(
    _ outer: UInt64,
    _ inner: SwiftTaskBinding
  ) async -> Result<Void, BPFError> {
    do throws(BPFError) {
      try expect(outer, "in a scope")
      await Task.yield()
      try expect(outer, "after a suspension")
      async let child = check(outer, "in a child task")
      try await child.get()
      try await Task { check(outer, "in Task {}") }.value.get()
      try await Task.detached { check(0, "in Task.detached") }.value.get()
      try await slots.local.withValue(inner) { () -> Result<Void, BPFError> in
        await Task.yield()
        return check(inner.tag, "in a nested scope")
      }.get()
      try slots.local.withValue(inner) { check(inner.tag, "in a nested synchronous scope") }.get()
      try expect(outer, "after a nested scope")
      return .success(())
    } catch {
      return .failure(error)
    }
  }

  private func onSecondThread(_ binding: SwiftTaskBinding) async throws(BPFError) {
    let outcome = try onNewThread(attempt: attempt) { () -> Result<Void, BPFError> in
      do throws(BPFError) {
        try expect(0, "on a second thread outside of any Swift task")
        try slots.withThreadScope(binding) {
          check(binding.tag, "in a synchronous scope of a second thread")
        }.get()
        try expect(0, "on a second thread after a synchronous scope")
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try outcome?.get()

    let executor = NewThreadExecutor()
    try await Task.detached(executorPreference: executor) { () -> Result<Void, BPFError> in
      do throws(BPFError) {
        try expect(0, "in a Swift task on a second thread outside of any scope")
        try await slots.local.withValue(binding) { () -> Result<Void, BPFError> in
          let before = check(binding.tag, "in a scope on a second thread")
          await Task.yield()
          return before.flatMap { check(binding.tag, "after a suspension on a second thread") }
        }.get()
        return .success(())
      } catch {
        return .failure(error)
      }
    }.value.get()
  }

  private func check(_ tag: UInt64, _ step: String) -> Result<Void, BPFError> {
    Result { () throws(BPFError) in try expect(tag, step) }
  }

  /// Compares the slot that the program finds on the calling thread with Swift's and with `tag`.
  private func expect(_ tag: UInt64, _ step: String) throws(BPFError) {
    let swift = slots.local.get().tag
    var answer = try control.check(tag)
    // A program cannot read a page that the kernel is copying, such as after a fork, or migrating.
    for _ in 0..<100 where answer == .none && tag != 0 {
      sched_yield()
      answer = try control.check(tag)
    }
    guard swift == tag, answer == (tag == 0 ? .none : .own) else {
      throw SwiftRuntime.unsupported(
        attempt,
        step: "verifying what the program finds \(step)",
        details: "expected tag \(tag) (slot \(tag & 0xff_ffff)); Swift has tag \(swift) (slot "
          + "\(swift & 0xff_ffff)), and the program found \(answer)"
      )
    }
  }
}
