// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import MmapStorageBroker
import SystemPackage

/// `struct request` of requests.bpf.c.
struct Request: MapValue {
  var id: UInt64
  var calls: UInt64
  var state: UInt32
  var route: InlineArray<12, CChar>
}

/// `enum request_state`.
enum RequestState {
  static let idle: UInt32 = 0
  static let handling: UInt32 = 1
}

@main
struct RequestService {
  static func main() {
    do {
      try run()
    } catch {
      try? FileHandle.standardError.write(contentsOf: Data("request-service: \(error)\n".utf8))
      exit(1)
    }
  }

  /// `request-service [SOCKET]` receives the map from a broker. `request-service PINS OBJECT` opens
  /// it in a directory of pins.
  static func run() throws {
    let arguments = Array(CommandLine.arguments.dropFirst())
    if arguments.count > 2 || arguments.contains(where: { $0.hasPrefix("-") }) {
      try say("usage: request-service [SOCKET]\n       request-service PINS OBJECT")
      exit(["--help", "-h"].contains(arguments.first) ? 0 : 64)
    } else if arguments.count == 2 {
      try useMap(pinnedIn: FilePath(arguments[0]), object: FilePath(arguments[1]))
    } else {
      try useMap(fromBrokerAt: arguments.first ?? "/run/mmapstorage-broker.sock")
    }
  }

  static func useMap(fromBrokerAt socket: String) throws {
    let broker = try BrokerClient(connectingTo: FilePath(socket))
    let requests = try TaskLocalStorage<Request>(from: broker, "requests")
    try startThreads(requests)
    while true {
      Thread.sleep(forTimeInterval: 1)
      // The programs of a stopped or busy broker are attached. It replies late.
      let isAttached = try? broker.attachedPrograms().contains("count_calls")
      guard isAttached ?? broker.isConnected else {
        try say("The program that counts is no longer attached.")
        return
      }
    }
  }

  static func useMap(pinnedIn directory: FilePath, object: FilePath) throws {
    let pins = BPFPinDirectory(directory)
    let map = try BPFMap(pinnedAt: pins.map("requests"))
    let requests = try TaskLocalStorage<Request>(
      map: map,
      layout: BPFObject(contentsOf: object).layout(ofMap: "requests")
    )
    try startThreads(requests)
    // The pins may be replaced by those of another version, whose program uses another map.
    while try pins.attachedPrograms().contains("count_calls"),
      try BPFMap(pinnedAt: pins.map("requests"), readOnly: true).info.id == map.info.id
    {
      Thread.sleep(forTimeInterval: 1)
    }
    try say("The program that counts is no longer attached.")
  }

  static func startThreads(_ requests: TaskLocalStorage<Request>) throws {
    try say("Backend \(requests.backend)")
    for _ in 1..<4 { Thread.detachNewThread { serve(requests) } }
  }

  /// Handles requests in turn.
  static func serve(_ requests: TaskLocalStorage<Request>) {
    do {
      for id in UInt64(1)... {
        try requests.withCurrent { request in
          request.id = id
          request.calls = 0
          request.state = RequestState.handling
          for (index, byte) in "/orders".utf8.enumerated() {
            request[\.route][index] = CChar(byte)
          }
        }
        Thread.sleep(forTimeInterval: 0.2)
        try requests.withCurrent { $0.state = RequestState.idle }
        Thread.sleep(forTimeInterval: 0.05)
      }
    } catch {
      try? say("\(error)")
    }
  }

  /// Writes a line without buffering, also to a pipe.
  static func say(_ line: String) throws {
    try FileHandle.standardOutput.write(contentsOf: Data("\(line)\n".utf8))
  }
}
