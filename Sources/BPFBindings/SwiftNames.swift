// SPDX-License-Identifier: Apache-2.0

/// Converts C names to Swift names.
///
/// A name is split at underscores. Words of only capitals are converted to lower case. Each word
/// then begins with a capital, except for the first word of a name that is not a type's. Words in
/// ``initialisms`` are written in capitals, or in lower case as the first word of such a name. An
/// underscore between two digits is kept.
public enum SwiftNames {
  /// Words that are written in capitals, with their plurals: `request_id` becomes `requestID`.
  static let initialisms: Set<String> = [
    "bpf", "cpu", "dns", "fd", "gid", "http", "id", "io", "ip", "pid", "ppid", "rpc", "tcp", "tgid",
    "tid", "tls", "udp", "uid", "uri", "url", "uuid",
  ]

  /// The name of a variable, field or enumeration value: `request_id` becomes `requestID`.
  ///
  /// - Returns: The name, in backticks if it is a keyword; nil if there is no such Swift name.
  public static func member(_ name: String) -> String? {
    guard let words = words(of: name), var result = words.first?.lowercasedStart() else {
      return nil
    }
    append(words.dropFirst(), to: &result)
    if result.first?.isNumber == true { result = "_" + result }
    return escaped(result)
  }

  /// The name of a type: `request_tag` becomes `RequestTag`.
  ///
  /// - Returns: The name; nil if there is no such Swift name.
  public static func type(_ name: String) -> String? {
    guard let words = words(of: name) else { return nil }
    var result = ""
    append(words[...], to: &result)
    if result.first?.isNumber == true { result = "_" + result }
    return reservedTypes.contains(result) ? result + "_" : result
  }

  /// The name of the type for an object file: `http-counters` becomes `HTTPCounters`.
  public static func object(_ file: String) -> String? {
    let name = String(file.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
    guard let type = type(name) else { return nil }
    return commonTypes.contains(type) || libraryTypes.contains(type) ? type + "Object" : type
  }

  private static func append(_ words: ArraySlice<String>, to result: inout String) {
    for word in words {
      let isBetweenDigits = result.last?.isNumber == true && word.first?.isNumber == true
      result += (isBetweenDigits ? "_" : "") + word.capitalizedStart()
    }
  }

  /// The words of a C name; nil if a character in it cannot be in a Swift name.
  private static func words(of name: String) -> [String]? {
    guard
      name.allSatisfy({ $0 == "_" || !$0.isASCII || $0.isLetter || $0.isNumber })
    else { return nil }
    let words = name.split(separator: "_").map { word in
      word.contains(where: \.isLowercase) ? String(word) : word.lowercased()
    }
    return words.isEmpty ? nil : words
  }

  /// The name of a field: as for a variable, with an underscore if views have a member of that
  /// name.
  public static func field(_ name: String) -> String? {
    member(name).map { viewMembers.contains($0) ? $0 + "_" : $0 }
  }

  private static let viewMembers: Set<String> = [
    "atomic", "load", "store", "withSeqcountRead", "withSeqcountWrite",
  ]

  /// The name of an enumeration's value: as for a variable, with an underscore if the generated
  /// type has a property of that name.
  static func enumerator(_ name: String) -> String? {
    member(name).map { $0 == "rawValue" ? "rawValue_" : $0 }
  }

  /// The name, in backticks if Swift requires them.
  static func escaped(_ name: String) -> String? {
    // 'value.self' is the value itself.
    if name == "self" { return "self_" }
    return keywords.contains(name) ? "`\(name)`" : name
  }

  static let keywords: Set<String> = [
    "as", "associatedtype", "await", "break", "case", "catch", "class", "continue", "default",
    "defer", "deinit", "do", "else", "enum", "extension", "fallthrough", "false", "fileprivate",
    "for", "func", "guard", "if", "import", "in", "init", "inout", "internal", "is", "let", "nil",
    "operator", "precedencegroup", "private", "protocol", "public", "repeat", "rethrows", "return",
    "static", "struct", "subscript", "super", "switch", "throw", "throws", "true", "try",
    "typealias", "var", "where", "while",
  ]

  /// Whether a typedef is only another spelling of a number type's name, as in the headers of C and
  /// Linux.
  static func isNumber(_ name: String) -> Bool {
    name.hasPrefix("__") || numbers.contains(name)
  }

  private static let numbers: Set<String> = [
    "bool", "char16_t", "char32_t", "int16_t", "int32_t", "int64_t", "int8_t", "intmax_t",
    "intptr_t",
    "ptrdiff_t", "s16", "s32", "s64", "s8", "size_t", "ssize_t", "u16", "u32", "u64", "u8",
    "uint16_t",
    "uint32_t", "uint64_t", "uint8_t", "uintmax_t", "uintptr_t", "u_int16_t", "u_int32_t",
    "u_int64_t", "u_int8_t",
  ]

  /// Names that are not allowed for a nested type, or that the generated code uses for its own
  /// types.
  private static let reservedTypes: Set<String> = [
    "Any", "Field", "Globals", "InitialGlobals", "LibBPF", "Maps", "MmapStorage", "Opened",
    "Places",
    "Programs", "Protocol", "Self", "Swift", "Type",
  ]

  /// Names that a type at file scope should not have, because it would hide another one.
  private static let commonTypes: Set<String> = [
    "Actor", "Any", "Array", "Bool", "Character", "Clock", "Data", "Date", "Dictionary", "Double",
    "Duration", "Error", "Event", "Fields", "Float", "Foundation", "Glibc", "Int",
    "LibBPF",
    "Main", "MmapStorage", "Mutex", "Never", "Optional", "Process", "Range", "Result", "Sequence",
    "Set", "StaticString", "String", "Swift", "Task", "Thread", "UInt", "URL", "Void",
  ]

  /// The library's types, which the generated code uses.
  private static let libraryTypes: Set<String> = [
    "ArrayView", "AtomicField", "AtomicFields", "BPFArrayMap", "BPFError", "BPFFileSystem",
    "BPFHashMap", "BPFLink", "BPFMap", "BPFMapFlags", "BPFMapInfo", "BPFMapType", "BPFMappedArray",
    "BPFObject", "BPFObjectImage", "BPFPerCPUArrayMap", "BPFPerCPUHashMap", "BPFPinAttributes",
    "BPFPinDirectory", "BPFPinMismatchPolicy", "BPFPinOutcome", "BPFProgram", "BPFProgramInfo",
    "BPFRingBuffer", "BackendChoice", "BackendKind", "BitField", "FieldLayout",
    "GeneratedMap", "GlobalSection", "InitialGlobalValues", "KernelProbe", "LayoutPolicy",
    "LookupAccessPath", "MapField", "MapScalar", "MapValue", "MappingState", "Place",
    "PlacedMapValue", "RingBuffer", "StorageView", "SwiftTaskStorage",
    "SwiftTaskStorageDeclaration", "TaskInfo", "TaskLocalStorage", "TaskReference",
    "TaskValue", "ThreadID", "UnalignedPlace",
    "ValueLayout",
  ]
}

extension String {
  fileprivate func capitalizedStart() -> String {
    if SwiftNames.initialisms.contains(self) { return uppercased() }
    if hasSuffix("s"), SwiftNames.initialisms.contains(String(dropLast())) {
      return dropLast().uppercased() + "s"
    }
    return prefix(1).uppercased() + dropFirst()
  }

  fileprivate func lowercasedStart() -> String {
    // `Tags` becomes `tags`, `HTTPTags` becomes `httpTags`.
    let capitals = prefix { $0.isUppercase }
    let keep = capitals.count > 1 && capitals.count < count ? 1 : 0
    let start = capitals.dropLast(keep)
    return start.lowercased() + dropFirst(start.count)
  }
}

extension SwiftNames {
  /// Whether a text is a valid identifier for a type.
  public static func isTypeName(_ text: String) -> Bool {
    text.first.map { $0.isLetter || $0 == "_" } == true
      && text.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" }
      && !keywords.contains(text) && !reservedTypes.contains(text)
  }
}
