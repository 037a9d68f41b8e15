// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues
public import SystemPackage

extension BPFObject {
  /// Pins a storage of Swift tasks for other processes: the map as `name`, and the program that registers a
  /// process as `name`_control.
  ///
  /// A process that may open both can register itself, and no other process. It can read and write the slots
  /// of all processes in the map.
  ///
  /// - Parameters:
  ///   - name: The storage's name in the program's source.
  ///   - directory: A directory on a BPF file system.
  ///   - attributes: Who may open both. Using the storage needs read and write permission, such as that of
  ///     ``BPFPinAttributes/group(_:readOnly:)``. The default is the owner only.
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
  /// Registers the process with the program, and searches and verifies as ``init(_:_:policy:)`` does. Needs no
  /// capability if the process may open the pins and passes the layout.
  ///
  /// - Parameters:
  ///   - directory: The directory of the pins.
  ///   - name: The storage's name in the program's source.
  ///   - layout: The layout of the map. A process that cannot read it from the kernel (CAP_SYS_ADMIN) reads it
  ///     from the object file with ``BPFObject/layout(ofMap:)``.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not have.
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

  /// Opens a storage from descriptors of the map and of the program that registers a process.
  ///
  /// - Parameters:
  ///   - map: The storage's map.
  ///   - control: A descriptor of the program `name`_control. The caller still owns it.
  ///   - layout: The layout of the map, if this process cannot read it from the kernel.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not have.
  /// - Throws: ``BPFError``, as ``init(_:_:policy:)``.
  package convenience init(
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
