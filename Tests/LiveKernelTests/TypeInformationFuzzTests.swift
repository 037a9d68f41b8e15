// SPDX-License-Identifier: Apache-2.0
import Glibc
import LibBPF
import MmapStorage
import Testing

/// Reads damaged BTF. Each case is the BTF of an object file with a few changes. The number of the
/// case determines the changes, so a failure can be repeated.
///
/// MMAPSTORAGE_FUZZ_SECONDS sets the duration, 2 s by default. MMAPSTORAGE_FUZZ_FIRST is the number of
/// the first case.
@Suite struct TypeInformationFuzzTests {
  @Test func damagedTypeInformationIsReadOrRefused() async throws {
    let path = "/tmp/mmapstorage-fuzz.\(getpid())"
    setenv("MMAPSTORAGE_FUZZ_PROGRESS", path, 1)
    defer { unlink(path) }
    let result = await #expect(processExitsWith: .success) {
      try fuzz()
    }
    let progress = Progress.read(path)
    if result == nil {
      Issue.record("case \(progress.number) ended the process in \(progress.phase)")
    }
    #expect(progress.number > 1)
  }
}

private func fuzz() throws {
  let seconds = Int(environment("MMAPSTORAGE_FUZZ_SECONDS") ?? "") ?? 2
  let path = try #require(environment("MMAPSTORAGE_FUZZ_PROGRESS"))
  let progress = Progress(path)
  let originals = try [BPFObjectImage.layouts, .pages].map {
    try #require(section(".BTF", of: $0.bytes))
  }
  alarm(UInt32(seconds * 3 + 30))  // A case that does not end is also a failure.
  let end = ContinuousClock.now + .seconds(seconds)
  var number = UInt64(environment("MMAPSTORAGE_FUZZ_FIRST") ?? "") ?? 1
  var refused = 0
  var read = 0
  while ContinuousClock.now < end {
    progress.write(number, inLibbpf: true)
    let original = originals[Int(number % 2)]
    let bytes = damaged(original, number)
    do {
      let types = try BTF(bytes: bytes, name: "case \(number)")
      progress.write(number, inLibbpf: false)
      for id in 0...UInt32(typeOffsets(original).count) {
        do {
          let type = try types.fieldType(id)
          // The kernel does not allow larger values, and the functions below visit each element.
          guard type.size <= 1 << 16 else { continue }
          _ = scalarRanges(of: type)
          _ = booleanOffsets(of: type)
          let layout = try types.valueLayout(ofType: id, size: type.size)
          let comparison = LayoutComparison(
            swift: type,
            swiftName: "Swift",
            map: layout.type,
            mapName: "map"
          )
          _ = comparison.isMatch
          read += 1
        } catch { refused += 1 }
      }
    } catch { refused += 1 }
    number += 1
  }
  print("last case \(number - 1); \(read) types read, \(refused) refused")
}

/// Returns the bytes with one to four changes.
private func damaged(_ original: [UInt8], _ number: UInt64) -> [UInt8] {
  var random = SeededRandom(state: number &* 0x9e37_79b9_7f4a_7c15 | 1)
  var bytes = original
  let types = typeOffsets(original)
  var removed = 0
  for _ in 0...random.next(3) {
    let word = random.next(bytes.count / 4) * 4
    switch random.next(8) {
    case 0: bytes[random.next(bytes.count)] ^= 1 << UInt8(random.next(8))
    case 1: bytes[random.next(bytes.count)] = UInt8(random.next(256))
    case 2: put(UInt32(random.next(100)), at: word, into: &bytes)
    case 3: put([0, 1, 0xffff, 0x7fff_ffff, .max][random.next(5)], at: word, into: &bytes)
    case 4:
      let from = random.next(bytes.count / 4) * 4
      for index in 0..<4 { bytes[word + index] = bytes[from + index] }
    case 5, 6:
      // A reference to the type itself or to one near to it.
      let id = random.next(types.count) + 1
      put(UInt32(max(id + random.next(3) - 1, 0)), at: types[id - 1] + 8, into: &bytes)
    default:
      // Last, because the changes above need the full length.
      if random.next(8) == 0 { removed = random.next(bytes.count - 24) }
    }
  }
  bytes.removeLast(removed)
  return bytes
}

/// Returns the offsets of the types, the first of which has the id 1.
func typeOffsets(_ bytes: [UInt8]) -> [Int] {
  func word(_ offset: Int) -> Int {
    (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
  }
  var offsets: [Int] = []
  var at = word(4) + word(8)
  let end = at + word(12)
  while at < end {
    offsets.append(at)
    let (kind, count) = (word(at + 4) >> 24 & 0x1f, word(at + 4) & 0xffff)
    let size =
      switch kind {
      case 1, 14, 17: 16
      case 3: 24
      case 4, 5, 15, 19: 12 + 12 * count
      case 6, 13: 12 + 8 * count
      default: 12
      }
    at += size
  }
  return offsets
}

func put(_ value: UInt32, at offset: Int, into bytes: inout [UInt8]) {
  for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
}

/// A file with the number of the running case, for the process that waits.
private struct Progress {
  var number: UInt64 = 0
  var phase = "the library"
  private let descriptor: Int32

  init(_ path: String) { descriptor = open(path, O_RDWR | O_CREAT, 0o600) }

  func write(_ number: UInt64, inLibbpf: Bool) {
    var words = [number, inLibbpf ? 1 : 0]
    pwrite(descriptor, &words, 16, 0)
  }

  static func read(_ path: String) -> Progress {
    var progress = Progress(path)
    var words: [UInt64] = [0, 0]
    pread(progress.descriptor, &words, 16, 0)
    close(progress.descriptor)
    progress.number = words[0]
    if words[1] == 1 { progress.phase = "libbpf" }
    return progress
  }
}

private func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

/// Returns the contents of a section of a 64-bit ELF file.
func section(_ name: String, of file: [UInt8]) -> [UInt8]? {
  func number(_ offset: Int, _ size: Int) -> Int {
    (0..<size).reduce(0) { $0 | Int(file[offset + $1]) << (8 * $1) }
  }
  let (table, size, count) = (number(40, 8), number(58, 2), number(60, 2))
  func contents(_ index: Int) -> Range<Int> {
    let start = number(table + index * size + 24, 8)
    return start..<start + number(table + index * size + 32, 8)
  }
  let names = contents(number(62, 2)).lowerBound
  for index in 0..<count {
    let start = names + number(table + index * size, 4)
    if file[start...].starts(with: Array(name.utf8) + [0]) { return Array(file[contents(index)]) }
  }
  return nil
}
