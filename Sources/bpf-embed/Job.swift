// SPDX-License-Identifier: Apache-2.0
/// The command-line arguments from BPFPlugin.
struct Job {
  /// The name of the source file, without `.bpf.c`.
  var name: String
  /// The name of the image in Swift, as written in code.
  var identifier: String
  /// The module that the Swift file becomes part of.
  var module: String
  /// The make rule from clang at planning time.
  var plan: String
  /// The object file to write.
  var object: String
  /// The Swift file with the object's bytes to write.
  var swift: String
  /// The Swift file with the types, maps, globals and programs to write; nil for none.
  var bindings: String?
  /// The C file.
  var source: String
  /// clang, and its flags.
  var clang: [String]

  init(arguments: [String]) throws(Failure) {
    var options: [String: String] = [:]
    var rest = arguments[...]
    while let option = rest.popFirst(), option != "--" {
      options[option] = rest.popFirst()
    }
    func value(_ option: String) throws(Failure) -> String {
      guard let value = options[option] else {
        throw Failure("bpf-embed is run by BPFPlugin, and needs \(option)")
      }
      return value
    }
    name = try value("--name")
    identifier = try value("--identifier")
    module = try value("--module")
    plan = try value("--plan")
    object = try value("--object")
    swift = try value("--swift")
    bindings = options["--bindings"]
    source = try value("--source")
    clang = Array(rest)
    if clang.isEmpty { throw Failure("bpf-embed is run by BPFPlugin, and needs -- clang flags…") }
  }

  /// The file for clang's list of the files that it read.
  var dependencies: String { object + ".d" }
}
