// SPDX-License-Identifier: Apache-2.0
import BPFBindings
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
    ("swift", "Swift_"), ("maps", "Maps_"), ("string", "String"), ("task", "Task"),
  ])
  func types(cName: String, swiftName: String) {
    #expect(SwiftNames.type(cName) == swiftName)
  }

  @Test(arguments: [
    ("request-tags", "RequestTags"), ("http-counters", "HTTPCounters"),
    ("HTTPCounters", "HTTPCounters"),
    ("task", "TaskObject"), ("string", "StringObject"), ("default", "Default"),
  ])
  func objects(file: String, swiftName: String) {
    #expect(SwiftNames.object(file) == swiftName)
  }

  @Test(arguments: ["_", "__", "a$b", ""])
  func namesThatSwiftCannotHave(cName: String) {
    #expect(SwiftNames.member(cName) == nil && SwiftNames.type(cName) == nil)
  }

  @Test func fieldsDoNotHideMembersOfViews() {
    #expect(SwiftNames.field("load") == "load_" && SwiftNames.field("atomic") == "atomic_")
    #expect(SwiftNames.field("loads") == "loads")
  }
}

extension String {
  fileprivate var escaped: String { "`\(self)`" }
}
