// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues

extension BPFObject {
  /// Sets a global variable of the programs.
  ///
  /// A constant (`const volatile`, in `.rodata`) can be set before ``load()`` only. Any other variable can be
  /// set at any time: the section of a loaded object is mapped at the first call (Linux 5.5), and programs see
  /// the new value immediately. A value of 1, 2, 4 or 8 bytes that is aligned is written with a single store.
  ///
  /// - Parameters:
  ///   - name: The C name.
  ///   - value: The value. Its type is compared with the C type field by field.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/layoutMismatch``,
  ///   ``BPFError/Kind/layoutUnavailable``, or ``BPFError/Kind/wrongState``.
  public func setGlobal<Field: MapField>(_ name: String, to value: Field) throws(BPFError) {
    let attempt = "set global '\(name)'"
    try withGlobal(name, attempt: attempt, forWriting: true) { (variable) throws(BPFError) in
      try check(variable, named: name, as: Field.self, attempt: attempt)
      variable.store(value)
    }
  }

  /// Reads a global variable of the programs.
  ///
  /// A value of 1, 2, 4 or 8 bytes that is aligned is read with a single load. A larger one is
  /// copied, and a program may change it meanwhile. A `__kconfig` variable can be read after ``load()`` only.
  ///
  /// - Parameters:
  ///   - name: The C name.
  ///   - type: The Swift type, which is compared with the C type field by field.
  /// - Returns: The value.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/layoutMismatch``,
  ///   ``BPFError/Kind/layoutUnavailable``, or ``BPFError/Kind/wrongState``.
  public func global<Field: MapField>(
    _ name: String,
    as type: Field.Type = Field.self
  ) throws(BPFError) -> Field {
    let attempt = "read global '\(name)'"
    return try withGlobal(name, attempt: attempt, forWriting: false) {
      (variable) throws(BPFError) in
      try check(variable, named: name, as: type, attempt: attempt)
      return variable.load(as: type)
    }
  }

  private func check<Field: MapField>(
    _ variable: borrowing GlobalVariable,
    named name: String,
    as type: Field.Type,
    attempt: String
  ) throws(BPFError) {
    let subject = "object '\(self.name)'"
    guard let btf else { return }
    var reader = BTFReader(btf: btf, attempt: attempt, subject: subject)
    let comparison = LayoutComparison(
      swift: try Field.fieldType(),
      swiftName: "\(Field.self)",
      map: try reader.fieldType(variable.type),
      mapName: name
    )
    guard comparison.isMatch, MemoryLayout<Field>.size == variable.size else {
      throw BPFError(
        .layoutMismatch,
        attempt: attempt,
        on: subject,
        advice: "it has \(variable.size) bytes, and Swift type '\(Field.self)' has "
          + "\(MemoryLayout<Field>.size); rows that differ are marked '!' below",
        details: comparison.table
      )
    }
  }
}
