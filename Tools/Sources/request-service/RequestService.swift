// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import MmapStorageBroker
import SystemPackage

/// `struct request` of requests.bpf.c.
struct Request: MapValue {
  var id: UInt64
  var calls: UInt64
  var route: InlineArray<16, CChar>
}

@main
struct RequestService {
  static func main() throws {
    let socket = CommandLine.arguments.dropFirst().first ?? "/run/mmapstorage-broker.sock"
    let broker = try BrokerClient(connectingTo: FilePath(socket))
    let requests = try TaskLocalStorage<Request>(from: broker, "requests")
    print("Backend \(requests.backend)")

    for _ in 1..<4 { Thread.detachNewThread { serve(requests) } }
    while true {
      Thread.sleep(forTimeInterval: 1)
      guard broker.isConnected, try broker.attachedPrograms().contains("count_calls") else {
        print("The program that counts is gone.")
        return
      }
    }
  }

  /// Handles one request after the other.
  static func serve(_ requests: TaskLocalStorage<Request>) {
    for id in UInt64(1)... {
      do {
        try requests.withCurrent { request in
          request.id = id
          request.calls = 0
          for (index, byte) in "/orders".utf8.enumerated() {
            request[\.route][index] = CChar(byte)
          }
        }
      } catch {
        print(error)
        return
      }
      Thread.sleep(forTimeInterval: 0.2)
    }
  }
}
