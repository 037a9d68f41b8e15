public enum LayoutPolicy: Sendable { case exact, compatible }
struct LayoutComparison {
  init(swift: FieldType, swiftName: String, map: FieldType, mapName: String, policy: LayoutPolicy) {
  }
  func check() throws(StorageError) {}
}
extension FieldType {
  var scalarRanges: [Range<Int>] { [0..<8, 8..<16, 16..<24] }
  package var size: Int { 32 }
}
public protocol MapValue: MapField {}
extension MapValue {
  public static func fieldType() throws(StorageError) -> FieldType {
    .opaque(size: MemoryLayout<Self>.size)
  }
}
extension InlineArray: MapField where Element: MapField {
  public static func fieldType() throws(StorageError) -> FieldType {
    .array(of: try Element.fieldType(), count: count)
  }
}
public final class BPFObject: Sendable {
  public func layout(ofMap: String) throws(StorageError) -> FieldType { .boolean }
}
