import MmapStorage
import TestSupport
import Testing

@Suite(.liveKernel, .serialized) struct FirstTests {
  @Test func itRuns() async throws {
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    print(SwiftRuntime.current)
    let (_, snapshot) = await requests.withValue({ $0.id = 42 }) {
      for _ in 0..<10 {
        call(42, row: 0)
        await Task.yield()
      }
    }
    call(42, row: 0)
    print(try program.seen()[0], snapshot as Any)
  }
}
