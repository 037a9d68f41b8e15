// SPDX-License-Identifier: Apache-2.0
import BPFBindings
import Foundation
import Testing

struct SwiftNamesTests {
  @Test(arguments: [
    ("request_id", "requestID"), ("request_ids", "requestIDs"), ("id", "id"), ("src_ip", "srcIP"),
    ("MAX_SIZE", "maxSize"), ("camelCase", "camelCase"), ("HTTPTags", "httpTags"), ("x_1", "x1"),
    ("a_1_2", "a1_2"), ("_private", "private".escaped), ("in", "`in`"), ("default", "`default`"),
    ("self", "self_"), ("url_id", "urlID"), ("_1st", "_1st"), ("élan_vital", "élanVital"),
  ])
  func variablesAndFields(cName: String, swiftName: String) {
    #expect(SwiftNames.member(cName) == swiftName)
  }

  @Test(arguments: [
    ("request_tag", "RequestTag"), ("http_header", "HTTPHeader"), ("Type", "Type_"),
    ("swift", "Swift_"), ("maps", "Maps_"), ("field", "Field_"), ("string", "String"),
    ("task", "Task"),
  ])
  func types(cName: String, swiftName: String) {
    #expect(SwiftNames.type(cName) == swiftName)
  }

  @Test(arguments: [
    ("request-tags", "RequestTags"), ("http-counters", "HTTPCounters"),
    ("HTTPCounters", "HTTPCounters"),
    ("task", "TaskObject"), ("ring-buffer", "RingBufferObject"), ("string", "StringObject"),
    ("default", "Default"),
  ])
  func objects(file: String, swiftName: String) {
    #expect(SwiftNames.object(file) == swiftName)
  }

  @Test(arguments: [
    ("Tags", true), ("_Tags", true), ("HTTP2Tags_", true), ("class", false), ("Maps", false),
    ("2Tags", false), ("My Tags", false), ("Tags<Int>", false), ("", false),
  ])
  func namesOfTypesInOptions(name: String, isName: Bool) {
    #expect(SwiftNames.isTypeName(name) == isName)
  }

  @Test(arguments: ["_", "__", "a$b", ""])
  func namesThatSwiftCannotHave(cName: String) {
    #expect(SwiftNames.member(cName) == nil && SwiftNames.type(cName) == nil)
  }

  @Test func objectsDoNotHideTypesOfTheLibrary() throws {
    let sources = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Sources").standardized
    var count = 0
    for module in ["LibBPF", "MapValues", "BPFMaps", "MmapStorage"] {
      let files = try #require(
        FileManager.default.enumerator(
          at: sources.appending(path: module),
          includingPropertiesForKeys: nil
        )
      )
      for case let file as URL in files where file.pathExtension == "swift" {
        let text = try String(contentsOf: file, encoding: .utf8)
        let declaration =
          /(?m)^(?:@\w+ )*public (?!import)(?:\w+ )*(?:class|struct|enum|protocol|typealias) (\w+)/
        for match in text.matches(of: declaration) {
          let name = String(match.1)
          #expect(SwiftNames.object(name) != name)
          count += 1
        }
      }
    }
    #expect(count > 30)
  }

  @Test func fieldsDoNotHideMembersOfViews() {
    #expect(SwiftNames.field("load") == "load_" && SwiftNames.field("atomic") == "atomic_")
    #expect(SwiftNames.field("loads") == "loads")
  }
}

extension String {
  fileprivate var escaped: String { "`\(self)`" }
}
