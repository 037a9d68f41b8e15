// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import MapValues

/// The description of a pinned map: the place of its values, and a digest of the layouts of keys
/// and values.
struct ValueDescription {
  var isInUserPage: Bool
  var digest: String

  private static let inUserPage = "page-"
  private static let inMap = "map-"

  /// `nil` without type information.
  init?(of map: DeclaredMap, in object: BPFObject) {
    guard let layout = try? object.layout(ofMap: map.name) else { return nil }
    var digest = Digest()
    if map.keyTypeID != 0, let key = try? object.btf?.fieldType(map.keyTypeID) { digest.add(key) }
    digest.add(layout.type)
    self.digest = digest.hexadecimal
    isInUserPage = layout.isInUserPage
  }

  /// `nil` if the text is not a description.
  init?(_ text: String) {
    isInUserPage = text.hasPrefix(Self.inUserPage)
    guard isInUserPage || text.hasPrefix(Self.inMap) else { return nil }
    digest = String(text.dropFirst((isInUserPage ? Self.inUserPage : Self.inMap).count))
  }

  var text: String { (isInUserPage ? Self.inUserPage : Self.inMap) + digest }
}

extension Digest {
  /// Adds the types of the value's fields.
  fileprivate mutating func add(_ type: FieldType) {
    add(type.size)
    switch type {
    case .structure(let layout), .union(let layout):
      for member in layout.members {
        add(member.name)
        add(member.offset)
        add(member.type)
      }
    case .array(let element, let count):
      add(count)
      add(element)
    default: add(type.cWords)
    }
  }
}
