// SPDX-License-Identifier: Apache-2.0

import BPFBindings
import LibBPF

/// Writes the Swift file with the object's types, maps, global variables and programs.
func writeBindings(_ job: Job) throws(Failure) {
  guard let path = job.bindings else { return }
  let source = try SourceOptions(readingFrom: job.source)
  let text: String
  do {
    guard let typeName = source.name ?? SwiftNames.object(job.name) else {
      throw BindingError("'\(job.name).bpf.c' has no valid name of a Swift type; rename the file")
    }
    text = try bindings(
      for: BPFObject.open(bytes: read(job.object), name: job.name),
      options: BindingOptions(
        name: job.name,
        identifier: job.identifier,
        typeName: typeName,
        isPublic: source.isPublic
      )
    )
  } catch let error as BindingError {
    throw Failure(error.description, at: try location(of: error, job))
  } catch let error as Failure {
    throw error
  } catch let error as BPFError {
    // libbpf's message contains names, such as of the map and its field. The last one is the most specific.
    let line = error.details.split(separator: "\n").first { $0.contains("'") } ?? ""
    let start = "\(job.source):1:1"
    var place = start
    for match in line.matches(of: /'([^']+)'/).reversed() where place == start {
      place = try location(of: BindingError("", near: String(match.1)), job)
    }
    throw Failure(error.description, at: place)
  } catch {
    throw Failure("\(error)", at: "\(job.source):1:1")
  }
  try writeIfChanged(Array(text.utf8), to: path)
}

/// Options in a comment of the C file, such as `/* BPFPlugin: public, name=HTTPCounters */`.
struct SourceOptions {
  var isPublic = false
  var name: String?

  init(readingFrom path: String) throws(Failure) {
    let lines = String(decoding: try read(path), as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() {
      // In a comment that begins in this line or before.
      guard let marker = line.firstRange(of: "BPFPlugin:") else { continue }
      let before = line[..<marker.lowerBound]
      guard before.contains("/") || before.allSatisfy({ $0.isWhitespace || $0 == "*" })
      else { continue }
      var text = line[marker.upperBound...]
      if let end = text.firstRange(of: "*/") { text = text[..<end.lowerBound] }
      for option in text.split(separator: ",") {
        let words = option.split(separator: "=", maxSplits: 1).map {
          $0.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        }
        if words == ["public"] {
          isPublic = true
        } else if words.count == 2, words[0] == "name", SwiftNames.isTypeName(words[1]) {
          name = words[1]
        } else {
          throw Failure(
            "'\(words.joined(separator: "="))' is not an option of BPFPlugin; the options are 'public' and 'name=TypeName'",
            at: "\(path):\(index + 1):1"
          )
        }
      }
    }
  }
}

/// The file, line and column of an error: the declaration of the C name.
private func location(of error: BindingError, _ job: Job) throws(Failure) -> String {
  var files = [job.source]
  files += DependencyRule.prerequisites(
    in: String(decoding: try read(job.dependencies), as: UTF8.self)
  )
  .filter { file in
    file != job.source && !["/usr/include/", "/usr/lib/"].contains { file.hasPrefix($0) }
  }
  let texts = files.compactMap { file in
    (try? read(file)).map { bytes in
      (
        file,
        String(decoding: bytes, as: UTF8.self)
          .split(separator: "\n", omittingEmptySubsequences: false)
      )
    }
  }
  func isDefinition(_ line: Substring) -> Bool { line.contains("{") || line.contains("}") }
  // The definition of a type, then a declaration, then any use of the name.
  let isMember = !error.enclosing.isEmpty
  let filters: [(Substring) -> Bool] =
    isMember
    ? [{ _ in true }] : [isDefinition, { declares(error.cName, $0) }, { _ in true }]
  for isWanted in filters {
    for (file, lines) in texts where !error.cName.isEmpty {
      var start = 0
      if !error.enclosing.isEmpty {
        guard
          let line = lines.firstIndex(where: {
            column(of: error.enclosing, in: $0) != nil && isDefinition($0)
          })
        else { continue }
        start = line
      }
      for index in start..<lines.count where isWanted(lines[index]) {
        if let column = column(of: error.cName, in: lines[index]) {
          return "\(file):\(index + 1):\(column)"
        }
      }
    }
  }
  return "\(job.source):1:1"
}

/// Whether a line contains the word outside of comments, at the position of a declaration.
private func declares(_ word: String, _ line: Substring) -> Bool {
  guard let column = column(of: word, in: line) else { return false }
  let start = line.utf8.index(line.startIndex, offsetBy: column - 1)
  let before = line[..<start].drop { $0.isWhitespace }
  let after = line[line.utf8.index(start, offsetBy: word.utf8.count)...].drop { $0.isWhitespace }
  guard !before.isEmpty, !before.hasPrefix("*"), !before.contains("//"), !before.contains("/*")
  else {
    return false
  }
  return after.first.map { "[;=,)".contains($0) } == true || after.hasPrefix("SEC")
}

/// The column of a whole word in a line, from 1.
private func column(of word: String, in line: Substring) -> Int? {
  for range in line.ranges(of: word) {
    let before = line[..<range.lowerBound].last
    let after = line[range.upperBound...].first
    if ![before, after].contains(where: {
      $0.map { $0 == "_" || $0.isLetter || $0.isNumber } ?? false
    }) {
      return line[..<range.lowerBound].utf8.count + 1
    }
  }
  return nil
}
