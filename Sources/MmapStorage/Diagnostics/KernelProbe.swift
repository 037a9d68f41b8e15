// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import LibBPF
internal import MapValues
internal import SystemPackage

/// The result of trying a feature of the kernel, for `mmapstorage doctor`.
@_spi(Tools)
public struct KernelProbe: Sendable {
  /// The outcome of trying it.
  public enum State: String, Sendable {
    /// It works for this process.
    case available
    /// The kernel does not support it.
    case missing
    /// This process may not use it.
    case denied
  }

  /// The feature that was tried.
  public var name: String
  /// The outcome.
  public var state: State
  /// The kernel's error, and how to get the feature.
  public var detail: String

  /// Tries all features. Creates maps and loads programs, and closes them again.
  public static func all() -> [KernelProbe] {
    let map = Result { () throws(BPFError) in
      try BPFMap(creatingTaskStorage: "doctor_probe", wordCount: 1)
    }
    return [
      probe("task storage", needs: "Linux 5.11") { () throws(BPFError) in _ = try map.get() },
      probe("backend .mapped", KernelFeature.mmapableTaskStorage(valueSize: 8)),
      probe("backend .userPage", KernelFeature.userPages),
      threadPidfds,
      // Without CAP_PERFMON, the verifier rejects the programs with EINVAL.
      probe("lookups by program", needs: "Linux 5.17 and CAP_PERFMON") { () throws(BPFError) in
        let map = try map.get()
        let info = try map.info
        _ = try CallingTaskPrograms.acquire(for: map, info)
        CallingTaskPrograms.release(map: info.id)
      },
      probe("reading all tasks (iterator)", needs: "Linux 5.11 and CAP_PERFMON") {
        () throws(BPFError) in
        let map = try map.get()
        let layout = ValueLayout(name: "value", type: .integer(size: 8, signed: false))
        _ = try TaskIterator(map: map, layout: layout).values()
      },
    ]
  }

  private static var threadPidfds: KernelProbe {
    let descriptor = mms_pidfd_open(ThreadID.current.rawValue, true)
    guard descriptor < 0 else {
      closeDescriptor(descriptor)
      return KernelProbe(name: "pidfds of threads", state: .available, detail: "")
    }
    return KernelProbe(
      name: "pidfds of threads",
      state: .missing,
      detail: "\(Errno(rawValue: -descriptor)); Linux 6.9 has them; without them only a process's "
        + "first thread can be looked up"
    )
  }

  private static func probe(
    _ name: String,
    needs requirement: String,
    _ body: () throws(BPFError) -> Void
  ) -> KernelProbe {
    do throws(BPFError) {
      try body()
      return KernelProbe(name: name, state: .available, detail: "")
    } catch {
      let isDenied = error.kind == .permissionDenied
      return KernelProbe(
        name: name,
        state: isDenied ? .denied : .missing,
        detail: isDenied
          ? error.advice : "\(error.errno?.description ?? ""); needs \(requirement)"
      )
    }
  }

  private static func probe(
    _ name: String,
    _ availability: KernelFeature.Availability
  ) -> KernelProbe {
    switch availability {
    case .available: KernelProbe(name: name, state: .available, detail: "")
    case .missing(let errno):
      KernelProbe(
        name: name,
        state: .missing,
        detail: [
          errno?.description ?? "",
          name == "backend .mapped"
            ? "no released kernel has it; see kernel/README.md" : "Linux 6.13 has it",
        ].filter { !$0.isEmpty }.joined(separator: "; ")
      )
    case .unknown(let errno):
      KernelProbe(
        name: name,
        state: .denied,
        detail: [
          errno?.description ?? "",
          errno?.isTemporary == true ? "" : "creating a map needs CAP_BPF, or root",
        ].filter { !$0.isEmpty }.joined(separator: "; ")
      )
    }
  }
}
