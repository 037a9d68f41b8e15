// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import SystemPackage

extension BPFObject {
  /// Opens the object that `BPFPlugin` embedded in the executable.
  ///
  /// ``load()`` then selects the best backend of the running kernel for each map that is declared with
  /// `TASK_STORAGE`. Opening costs no system call.
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

  /// Opens an object file, such as one that was compiled without the plugin.
  ///
  /// The programs should include `<mmap_storage.bpf.h>` to declare task storage. Other objects work as
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
  ///   - bytes: The output of `clang -target bpf -O2 -g -c`. The bytes are copied.
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
