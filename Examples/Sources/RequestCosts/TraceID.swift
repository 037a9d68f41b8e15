// SPDX-License-Identifier: Apache-2.0
import HTTPTypes
import Instrumentation
import ServiceContextModule

/// A trace id of W3C Trace Context: 16 bytes; zero is none.
struct TraceID: Sendable, Hashable {
  var high: UInt64 = 0
  var low: UInt64 = 0

  /// The trace of the current Swift task according to the application's tracer; else that of the
  /// request's `traceparent` field.
  static func current(_ fields: HTTPFields) -> TraceID {
    if let context = ServiceContext.current {
      var carrier: [String: String] = [:]
      InstrumentationSystem.instrument.inject(context, into: &carrier, using: FieldInjector())
      if let id = carrier["traceparent"].flatMap(TraceID.init(traceparent:)) { return id }
    }
    return field.flatMap { fields[$0] }.flatMap(TraceID.init(traceparent:)) ?? TraceID()
  }

  private static let field = HTTPField.Name("traceparent")

  init() {}

  /// The id in `version-id-parent-flags`; nil if there is none.
  init?(traceparent: String) {
    let parts = traceparent.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count >= 4, parts[0].utf8.count == 2, parts[0] != "ff",
      parts[1].utf8.count == 32, parts[1].utf8.allSatisfy({ $0 != UInt8(ascii: "+") }),
      let high = UInt64(parts[1].prefix(16), radix: 16),
      let low = UInt64(parts[1].suffix(16), radix: 16),
      high != 0 || low != 0
    else { return nil }
    self.high = high
    self.low = low
  }

  /// 32 hexadecimal digits; nil for none.
  var text: String? {
    guard high != 0 || low != 0 else { return nil }
    return [high, low].map { half in
      let digits = String(half, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }
}

private struct FieldInjector: Injector {
  func inject(_ value: String, forKey key: String, into carrier: inout [String: String]) {
    carrier[key.lowercased()] = value
  }
}
