import Glibc
import MmapStorage
import Testing

private func serve() { for _ in 0..<3 { _ = getppid() } }

private func gettingStarted() throws -> UInt32 {
  let object = try BPFObject(.requestTags)
  try object.setGlobal("only_process", to: UInt32(getpid()))
  try object.load()
  let tags = try TaskLocalStorage<RequestTag>(map: object.map("request_tags"))
  try object.attach()

  try tags.withCurrent { tag in
    tag.requestID = 42
    tag.priority = 3
  }
  serve()
  let calls = try tags.withCurrent { $0.calls }
  print("request 42 made \(calls) system calls; backend \(tags.backend)")

  let me = ThreadID.current
  if let copy = try tags.value(of: me) {
    print("thread \(me) serves request \(copy.requestID)")
  }

  return calls
}

@Suite struct GettingStarted {
  @Test func runsWhereTheKernelLetsIt() throws {
    do {
      #expect(try gettingStarted() >= 3)
    } catch let error as BPFError
      where error.kind == .permissionDenied || error.kind == .unsupported
    {
      print("not run: \(error)")
    }
  }
}
