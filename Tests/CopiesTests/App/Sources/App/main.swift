// SPDX-License-Identifier: Apache-2.0
import First
import Glibc
import MmapStorage
import MmapStorageTesting
import Second

// The application and the dynamic libraries each contain a copy of MmapStorage. Every storage has
// its own value on every thread, independently of the copy that created it.

struct Value: MapValue { var number: UInt64 }

func check(_ condition: Bool, _ what: String, line: Int = #line) {
  if condition { return }
  print("failed: \(what) (line \(line))")
  exit(1)
}

typealias Create = @convention(c) () -> Int32
typealias Write = @convention(c) (Int32, Int32) -> Int32
typealias Read = @convention(c) (Int32) -> Int32

func third<T>(_ library: UnsafeMutableRawPointer, _ name: String, as type: T.Type) -> T {
  guard let symbol = dlsym(library, "third_\(name)") else {
    print("no symbol third_\(name)")
    exit(1)
  }
  return unsafeBitCast(symbol, to: type)
}

nonisolated(unsafe) var mine: [TaskLocalStorage<Value>] = []
for access in [FakeBackend.Access.direct, .copying] {
  mine.append(try TaskLocalStorage(backend: FakeBackend(layoutOf: Value.self, access: access)))
}
for count in 1...2 {
  check(firstCreate() == Int32(count), "create a storage in First")
  check(secondCreate() == Int32(count), "create a storage in Second")
}

func useAll(_ base: Int32) {
  do {
    for index in 0..<2 {
      try mine[index].withCurrent { $0.number = UInt64(base) + UInt64(index) }
      check(firstWrite(Int32(index), base + 10 + Int32(index)) == 0, "write in First")
      check(secondWrite(Int32(index), base + 20 + Int32(index)) == 0, "write in Second")
    }
    for index in 0..<2 {
      let number = try mine[index].withCurrent { $0.number }
      check(number == UInt64(base) + UInt64(index), "the application's own value: \(number)")
      check(firstRead(Int32(index)) == base + 10 + Int32(index), "First's value")
      check(secondRead(Int32(index)) == base + 20 + Int32(index), "Second's value")
      // Code of this copy with storages of the others.
      let first = try firstStorage(index).withCurrent { $0.number }
      check(first == UInt64(base) + 10 + UInt64(index), "First's storage used here: \(first)")
      let second = try secondStorage(index).withCurrent { $0.number }
      check(second == UInt64(base) + 20 + UInt64(index), "Second's storage used here: \(second)")
    }
  } catch {
    print(error)
    exit(1)
  }
}

func onThread(
  _ body: @escaping @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?
)
  -> pthread_t
{
  var thread = pthread_t()
  check(pthread_create(&thread, nil, body, nil) == 0, "create a thread")
  return thread
}

useAll(100)
for _ in 0..<10 {
  pthread_join(
    onThread { _ in
      useAll(1000)
      return nil
    },
    nil
  )
}
useAll(200)

// A library that is unloaded while a thread is attached to one of its storages.
let path = CommandLine.arguments[1]
guard let opened = dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
  print("failed: load \(path)")
  exit(1)
}
nonisolated(unsafe) let library = opened
nonisolated(unsafe) let sync = UnsafeMutablePointer<sem_t>.allocate(capacity: 2)
sem_init(sync, 0, 0)
sem_init(sync + 1, 0, 0)
check(third(library, "create", as: Create.self)() == 1, "create a storage in Third")
let attached = onThread { _ in
  check(third(library, "write", as: Write.self)(0, 7) == 0, "write in Third")
  check(third(library, "read", as: Read.self)(0) == 7, "read in Third")
  useAll(2000)
  sem_post(sync)
  sem_wait(sync + 1)
  return nil
}
sem_wait(sync)
check(dlclose(library) == 0, "unload Third")
sem_post(sync + 1)
pthread_join(attached, nil)
useAll(300)
print("every storage keeps its own value")
