// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import MmapStorage
import MmapStorageTesting
import SystemPackage
import Testing

private func handleEvent() { _ = getppid() }

@Suite(.liveKernel, .serialized)
struct SwiftConcurrency {
  @Test func theFirstScope() async throws {
    #expect(try await firstScope()?.calls == 1)
  }

  @Test func severalProcesses() async throws {
    let path = "/tmp/mmapstorage-swift-tasks-\(getpid())"
    guard mkdir(path, 0o700) == 0, mount("bpf", path, "bpf", 0, nil) == 0 else {
      throw Errno(rawValue: errno)
    }
    defer {
      umount2(path, CInt(MNT_DETACH))
      rmdir(path)
    }
    let directory = FilePath(path)
    let loader = try pinRequests(in: directory)
    let requests = try await openPinnedRequests(in: directory)
    let totals = try await requests.withValue({ $0.id = 42 }) { try await handle() }.snapshot
    #expect(totals?.calls == 1)
    loader.object.detach()
  }
}

@Suite struct SwiftConcurrencyWithoutAKernel {
  let fake: FakeSwiftTasks<Request>
  let requests: SwiftTaskStorage<Request>

  init() throws {
    fake = try FakeSwiftTasks()
    requests = fake.storage
  }

  @Test func current() async throws {
    try await requests.withValue({ $0.id = 42 }) {
      try await handle()
      requests.withCurrent { request in
        request.atomic.calls.wrappingAdd(1)
      }
      #expect(requests.withCurrent { $0.calls } == 1)
    }
    #expect(requests.withCurrent { $0.calls } == nil)
  }

  @Test func finalValues() async throws {
    let (finals, final) = AsyncStream.makeStream(of: Request.self)
    requests.withValue({ $0.id = 42 }, onEnd: { final.yield($0) }) {
      Task { try await handle() }  // may end after the scope
    }
    for await request in finals {
      #expect(request.id == 42)
      break
    }
  }

  @Test func callbacks() async {
    let queue = DispatchQueue(label: "events")
    await withCheckedContinuation { continuation in
      queue.async {
        requests.withValue({ $0.id = 43 }) {
          handleEvent()
        }
      }
      queue.async { continuation.resume() }
    }
  }

  @Test func aTestTakesThePartOfTheProgram() async throws {
    let fake = try FakeSwiftTasks<Request>()
    let (_, totals) = await fake.storage.withValue({ $0.id = 42 }) {
      await Task.yield()
      fake.program { $0.calls += 1 }
    }
    #expect(totals?.calls == 1)
  }
}
