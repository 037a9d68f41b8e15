// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import MmapStorageInspection

/// A JSON document.
enum JSON: Encodable {
  case null
  case bool(Bool)
  case signed(Int64)
  case unsigned(UInt64)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  static func int(_ value: some BinaryInteger) -> JSON { .signed(Int64(truncatingIfNeeded: value)) }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .signed(let value): try container.encode(value)
    case .unsigned(let value): try container.encode(value)
    case .number(let value):
      // JSON has no infinity and no NaN.
      if value.isFinite { try container.encode(value) } else { try container.encode("\(value)") }
    case .string(let value): try container.encode(value)
    case .array(let value): try container.encode(value)
    case .object(let value): try container.encode(value)
    }
  }

  /// The document as text: on several lines, or on one. Control characters in strings, and those that change
  /// the direction of text, are escaped.
  func text(onOneLine: Bool = false) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if !onOneLine { encoder.outputFormatting.insert(.prettyPrinted) }
    let text = String(decoding: try encoder.encode(self), as: UTF8.self)
    // The encoder escapes those of ASCII except DEL. All of these are inside of strings.
    return text.unicodeScalars.reduce(into: "") { escaped, scalar in
      if (0x7F...0x9F).contains(scalar.value) || scalar.properties.isBidiControl {
        let digits = String(scalar.value, radix: 16)
        escaped += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      } else {
        escaped.unicodeScalars.append(scalar)
      }
    }
  }

  init(_ value: FieldValue) {
    self =
      switch value {
      case .signed(let number): .signed(number)
      case .unsigned(let number): .unsigned(number)
      case .enumeration(let name, let number):
        .object(["name": name.map(JSON.string) ?? .null, "number": JSON(number)])
      case .floatingPoint(let number): .number(number)
      case .boolean(let value): .bool(value)
      case .text(let text): .string(text)
      case .array(let elements): .array(elements.map(JSON.init))
      case .structure(let members):
        .object(
          Dictionary(
            members.map { ($0.name, JSON($0.value)) },
            uniquingKeysWith: { first, _ in first }
          )
        )
      case .bytes: .string(value.description)
      }
  }

  init(_ value: TaskValue<[UInt8]>, _ fields: [ValueLayout.Field]) {
    let task = value.task
    self = .object([
      "thread": .int(task.thread.rawValue),
      "process": .int(task.processID),
      "threadName": .string(task.threadName),
      "processName": .string(task.processName),
      "user": .int(task.userID),
      "startTime": .unsigned(task.startTime),
      "value": .object(
        Dictionary(
          fields.map { ($0.name, JSON($0.value(in: value.value))) },
          uniquingKeysWith: { first, _ in first }
        )
      ),
    ])
  }
}
