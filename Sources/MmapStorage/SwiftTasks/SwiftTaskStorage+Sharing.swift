// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues
public import SystemPackage

extension BPFObject {
  /// Pins what other processes need to use a storage of Swift tasks: the map under `name`, and the
  /// program that registers a process under `name`_control.
  ///
  /// A process that may open both can register itself, and no other process. Through the map it can
  /// read and write the slots of all processes, as through any memory that is shared.
  ///
  /// - Parameters:
  ///   - name: The storage's name in the program's source.
  ///   - directory: A directory on a BPF file system.
  ///   - attributes: Who may open both. To use the storage takes read and write permission, such as of
  ///     ``BPFPinAttributes/group(_:)``. The default is the owner alone.
  /// - Throws: ``BPFError``, as ``BPFMap/pin(at:attributes:)``. Nothing is pinned then.
  public func pinSwiftTaskStorage(
    _ name: String,
    in directory: FilePath,
    attributes: BPFPinAttributes = BPFPinAttributes()
  ) throws(BPFError) {
    let map = try map(name)
    let control = try SwiftTaskControl(of: self, map)
    let program = directory.appending(name + SwiftTaskControl.suffix)
    try map.pin(at: directory.appending(name), attributes: attributes)
    do throws(BPFError) {
      try control.program.pin(at: program, attributes: attributes)
    } catch {
      try map.unpin(at: directory.appending(name))
      throw error
    }
  }
}

extension SwiftTaskStorage {
  /// Opens a storage that another process loaded and pinned with
  /// ``BPFObject/pinSwiftTaskStorage(_:in:attributes:)``.
  ///
  /// The process is registered with the program, and everything is found and verified as in
  /// ``init(_:_:policy:)``. Needs no capability where it may open the paths, if it knows the layout.
  ///
  /// - Parameters:
  ///   - directory: Where it is pinned.
  ///   - name: The storage's name in the program's source.
  ///   - layout: The layout of the map, where this process may not read it (CAP_SYS_ADMIN); from the
  ///     object file with ``BPFObject/layout(ofMap:)``.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not know.
  /// - Throws: ``BPFError``, as ``init(_:_:policy:)`` and ``BPFMap/init(pinnedAt:readOnly:)``.
  public convenience init(
    pinnedIn directory: FilePath,
    name: String,
    layout: ValueLayout? = nil,
    policy: LayoutPolicy = .exact
  ) async throws(BPFError) {
    let map = try BPFMap(pinnedAt: directory.appending(name))
    let program = try BPFProgram(pinnedAt: directory.appending(name + SwiftTaskControl.suffix))
    let control = SwiftTaskControl(program, for: map.describedName)
    try await self.init(map: map, control: control, layout: layout, policy: policy)
  }

  /// Opens a storage from descriptors that this process was handed.
  ///
  /// - Parameters:
  ///   - map: The storage's map.
  ///   - control: A descriptor of the program `name`_control. It stays the caller's.
  ///   - layout: The layout of the map, where this process may not read it.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not know.
  /// - Throws: ``BPFError``, as ``init(_:_:policy:)``.
  public convenience init(
    map: BPFMap,
    control: FileDescriptor,
    layout: ValueLayout? = nil,
    policy: LayoutPolicy = .exact
  ) async throws(BPFError) {
    let control = SwiftTaskControl(
      try BPFProgram(duplicating: control),
      for: map.describedName
    )
    try await self.init(map: map, control: control, layout: layout, policy: policy)
  }
}
