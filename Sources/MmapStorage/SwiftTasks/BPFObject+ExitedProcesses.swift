// SPDX-License-Identifier: Apache-2.0
public import LibBPF

extension BPFObject {
  /// Frees the slots of processes that were killed.
  ///
  /// A process that runs out of slots does this itself, unless it is in a child PID namespace, as
  /// in most containers, where it cannot detect which other processes have exited. Call this
  /// periodically in the loader of a storage that such processes use. Frees nothing if the calling
  /// process is in such a namespace. Takes about a millisecond for 4096 slots. May be called from any
  /// thread.
  ///
  /// - Parameter name: The storage's name in the program's source.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongType`` if it is no storage of Swift tasks,
  ///   ``BPFError/Kind/wrongState`` before ``load()``, ``BPFError/Kind/outOfResources``.
  public func freeSlotsOfExitedProcesses(
    ofSwiftTaskStorage name: String
  ) throws(BPFError) {
    let map = try map(name)
    let info = try map.info
    _ = try slotValue(of: map.valueLayout(), in: map.describedName)
    let owners = SwiftTaskOwners(own: try SwiftTaskControl(of: self, map).owner())
    let mapping = try UnsharedMapping(
      map,
      size: info.valueSize * info.maxEntries,
      attempt: "free the slots of processes that have exited"
    )
    var known: [UInt64: Bool] = [:]
    for index in 0..<info.maxEntries {
      let owner = SwiftTaskSlots.owner(in: mapping, at: index * info.valueSize)
      let process = SwiftTaskSlots.process(of: owner)
      guard process != 0 else { continue }
      let hasExited = known[process] ?? owners.hasExited(process)
      known[process] = hasExited
      if hasExited {
        SwiftTaskSlots.free(in: mapping, at: index * info.valueSize, from: owner)
      }
    }
  }
}
