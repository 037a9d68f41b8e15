internal import Synchronization

/// A value that one thread leaves for another.
package final class Box<Value: Sendable>: Sendable {
  private let value: Mutex<Value>

  package init(_ value: Value) { self.value = Mutex(value) }

  package func set(_ newValue: Value) { value.withLock { $0 = newValue } }

  package func get() -> Value { value.withLock { $0 } }

  package func change(_ body: (inout Value) throws -> Void) rethrows {
    try value.withLock { try body(&$0) }
  }
}
