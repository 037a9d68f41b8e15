// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues

/// A section of global variables of a loaded object, for code that `BPFPlugin` generates.
///
/// The section's map is mapped (Linux 5.5), so programs see writes immediately and an access costs
/// no system call. Keeps the object alive, so that its programs stay attached. May be used from any
/// thread, including after the object was closed.
@_spi(Generated)
public final class GlobalSection: Sendable {
  @usableFromInline
  let fields: MappedFields
  private let object: BPFObject

  /// Maps a section.
  ///
  /// - Parameters:
  ///   - name: The section, such as ".bss".
  ///   - object: The loaded object.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongState`` before loading, or a system
  ///   error of `mmap(2)`.
  public init(_ name: String, of object: BPFObject) throws(BPFError) {
    fields = MappedFields(of: try object.mapSection(name))
    self.object = object
  }

  /// Reads the variable at an offset. A scalar is read with a single load; a larger value is copied,
  /// and a program may change it meanwhile.
  ///
  /// - Precondition: The variable is in the section.
  @inlinable
  public func load<Field: MapField>(_ type: Field.Type, at offset: Int) -> Field {
    withExtendedLifetime(self) { fields.field(type, at: offset).loadWhole(as: type) }
  }

  /// Writes the variable at an offset. A scalar is written with a single store; a larger value is
  /// copied, and a program may read a part of it meanwhile.
  ///
  /// - Precondition: The variable is in the section, which is not constant.
  @inlinable
  public func store<Field: MapField>(_ value: Field, at offset: Int) {
    precondition(fields.isWritable, "the section is constant")
    withExtendedLifetime(self) { fields.field(Field.self, at: offset).storeWhole(value) }
  }
}
