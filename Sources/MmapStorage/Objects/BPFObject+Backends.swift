// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import SystemPackage

extension BPFObject {
  /// Opens the object that `BPFPlugin` compiled into the program.
  ///
  /// ``load()`` then gives each map that is declared with `TASK_STORAGE` the best backend that the
  /// running kernel has. Costs no system call itself.
  ///
  /// - Parameters:
  ///   - image: The compiled object, such as `.requestTags` for `request-tags.bpf.c`.
  ///   - backends: The backends to choose from.
  /// - Throws: ``BPFError/Kind/invalidObject``.
  public convenience init(
    _ image: BPFObjectImage,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws(BPFError) {
    try self.init(bytes: image.bytes, name: image.name, allowing: backends)
  }

  /// Opens an object file, such as one that a package's build did not compile.
  ///
  /// Programs that use task storage include `<mmap_storage.bpf.h>` for it; other objects work as
  /// well.
  ///
  /// - Parameters:
  ///   - path: The file. Its name up to the first dot is the object's name.
  ///   - backends: The backends to choose from.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/permissionDenied``,
  ///   ``BPFError/Kind/invalidObject``, or another system error.
  public convenience init(
    contentsOf path: FilePath,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws(BPFError) {
    try self.init(file: path, preparation: StoragePreparation(allowing: backends))
  }

  /// Opens the bytes of an object file.
  ///
  /// - Parameters:
  ///   - bytes: What `clang -target bpf -O2 -g -c` wrote. The bytes are copied.
  ///   - name: The object's name.
  ///   - backends: The backends to choose from.
  /// - Throws: ``BPFError/Kind/invalidObject``.
  public convenience init(
    bytes: [UInt8],
    name: String,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws(BPFError) {
    try self.init(
      bytes: bytes,
      name: name,
      source: "object '\(name)'",
      preparation: StoragePreparation(allowing: backends)
    )
  }
}
