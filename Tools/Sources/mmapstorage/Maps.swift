// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import MmapStorage
import MmapStorageInspection
import SystemPackage

struct Maps: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lists the task storage maps of the machine. Needs CAP_SYS_ADMIN."
  )

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let pins = Pin.all()
    let programs = try BPFProgram.ids().compactMap { try? BPFProgram(id: $0).info }
    let holders = Holder.byMap()
    let maps = try BPFMap.allTaskStorage().map { map in
      let info = try map.info
      return MapEntry(
        info: info,
        layout: try? map.valueLayout(),
        pins: pins.filter { $0.map == info.id },
        programs: programs.filter { $0.mapIDs.contains(info.id) },
        holders: holders[info.id] ?? []
      )
    }
    if json {
      try printLine(JSON.array(maps.map(\.json)).text())
      return
    }
    var table = TextTable(
      header: ["ID", "NAME", "VALUE", "BYTES", "WHERE", "MEMORY", "PROGRAMS", "PROCESSES", "PINS"]
    )
    table.numbers = [0, 3, 5]
    table.rows = maps.map(\.cells)
    try table.print()
  }
}

private struct MapEntry {
  var info: BPFMapInfo
  var layout: ValueLayout?
  var pins: [Pin]
  var programs: [BPFProgramInfo]
  var holders: [Holder]

  /// The place of the values.
  var place: String {
    layout?.hasUserPages == true
      ? "user pages" : info.flags.contains(.mmapable) ? "mapped pages" : "map"
  }

  var valueSize: Int { layout?.size ?? info.valueSize }

  var cells: [String] {
    [
      "\(info.id)",
      info.name.isEmpty ? "-" : printable(info.name),
      layout.map { $0.typeName.isEmpty ? "-" : printable($0.typeName) } ?? "-",
      "\(valueSize)",
      place,
      info.memory.map(String.init) ?? "-",
      list(programs.map { "\(printable($0.name)) (\($0.id))" }),
      list(holders.map { "\(printable($0.name)) (\($0.process))" }),
      list(pins.map { "\(printable($0.path)) (\($0.mode) \($0.owner):\($0.group))" }),
    ]
  }

  /// Some of the items, because a service may have hundreds of processes. JSON contains all.
  private func list(_ items: [String]) -> String {
    guard items.count > 4 else { return items.isEmpty ? "-" : items.joined(separator: ", ") }
    return items.prefix(3).joined(separator: ", ") + ", … \(items.count - 3) more"
  }

  var json: JSON {
    .object([
      "id": .int(info.id),
      "name": .string(info.name),
      "valueType": layout.map { .string($0.typeName) } ?? .null,
      "valueSize": .int(valueSize),
      "place": .string(place),
      "memory": info.memory.map(JSON.int) ?? .null,
      "programs": .array(
        programs.map {
          .object(["id": .int($0.id), "name": .string($0.name), "tag": .string($0.tag)])
        }
      ),
      "processes": .array(
        holders.map { .object(["id": .int($0.process), "name": .string($0.name)]) }
      ),
      "pins": .array(
        pins.map {
          .object([
            "path": .string($0.path), "mode": .string($0.mode), "owner": .int($0.owner),
            "group": .int($0.group),
          ])
        }
      ),
    ])
  }
}

/// A map's pin.
struct Pin {
  var map: UInt32
  var path: String
  var mode: String
  var owner: UInt32
  var group: UInt32

  /// The pins of maps on all BPF file systems in this process's mount namespace.
  static func all() -> [Pin] {
    var pins: [Pin] = []
    var mountPoints: Set<String> = []
    for line in Environment.read("/proc/self/mounts").split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.count > 2, words[2] == "bpf" { mountPoints.insert(unescaped(words[1])) }
    }
    var directories = Array(mountPoints)
    while let directory = directories.popLast() {
      for name in entries(directory) {
        let path = directory + "/" + name
        var info = stat()
        guard lstat(path, &info) == 0 else { continue }
        if info.st_mode & S_IFMT == S_IFDIR {
          directories.append(path)
        } else if info.st_mode & S_IFMT == S_IFREG,
          let id = try? BPFMap(pinnedAt: FilePath(path), readOnly: true).info.id
        {
          let mode = String(info.st_mode & 0o7777, radix: 8)
          pins.append(
            Pin(map: id, path: path, mode: "0" + mode, owner: info.st_uid, group: info.st_gid)
          )
        }
      }
    }
    return pins.sorted { $0.path < $1.path }
  }
}

/// A path of /proc/self/mounts, in which spaces and some other characters are octal numbers
/// (`\040`).
private func unescaped(_ path: Substring) -> String {
  var bytes: [UInt8] = []
  var rest = path.utf8
  while let byte = rest.popFirst() {
    if byte == UInt8(ascii: "\\"), let number = UInt8(String(rest.prefix(3)) ?? "", radix: 8) {
      bytes.append(number)
      rest = rest.dropFirst(3)
    } else {
      bytes.append(byte)
    }
  }
  return String(decoding: bytes, as: UTF8.self)
}

/// A process that has a descriptor of a map.
struct Holder: Hashable {
  var process: Int32
  var name: String

  static func byMap() -> [UInt32: [Holder]] {
    var found: [UInt32: [Holder]] = [:]
    for process in entries("/proc").compactMap({ Int32($0) }).sorted() {
      let name = Environment.read(FilePath("/proc/\(process)/comm")).prefix { $0 != "\n" }
      let holder = Holder(process: process, name: String(name))
      var ids: Set<UInt32> = []
      for descriptor in entries("/proc/\(process)/fdinfo") {
        for line in Environment.read(FilePath("/proc/\(process)/fdinfo/\(descriptor)")).split(
          separator: "\n"
        )
        where line.hasPrefix("map_id:") {
          if let id = UInt32(line.dropFirst(7).drop { $0 == "\t" || $0 == " " }) { ids.insert(id) }
        }
      }
      for id in ids { found[id, default: []].append(holder) }
    }
    return found
  }
}

/// The names in a directory; empty if it cannot be read.
private func entries(_ path: String) -> [String] {
  guard let directory = opendir(path) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) {
      String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names
}
