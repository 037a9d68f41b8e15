// SPDX-License-Identifier: Apache-2.0

/// Structures with the kernel's own state.
package let kernelOwnedStructures: Set<String> = [
  "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work", "bpf_list_head",
  "bpf_list_node", "bpf_rb_root", "bpf_rb_node", "bpf_refcount", "bpf_dynptr",
]

/// Tags of pointers that only the kernel may change.
package let kernelOwnedTags: Set<String> = [
  "kptr", "kptr_ref", "kptr_untrusted", "percpu_kptr", "uptr",
]

extension BTF {
  /// Whether a section of global variables contains the kernel's own state. The kernel does not map such an array
  /// (`bpf_map_mmap()`).
  func hasKernelState(inSection section: TypeInfo) throws(BPFError) -> Bool {
    for index in 0..<section.count {
      if try hasKernelState(variable(index, of: section.id).type) { return true }
    }
    return false
  }

  private func hasKernelState(_ id: UInt32, depth: Int = 0) throws(BPFError) -> Bool {
    // Damaged information may contain a structure that contains itself.
    guard depth < 128 else { return false }
    let type = try strippingQualifiers(id)
    switch type.kind {
    case .array:
      return try hasKernelState(type.referencedType, depth: depth + 1)
    case .ptr:
      let target = type.referencedType == 0 ? nil : try self.type(type.referencedType)
      return target?.kind == .typeTag && kernelOwnedTags.contains(target?.name ?? "")
    case .structure, .union:
      if kernelOwnedStructures.contains(type.name) { return true }
      for index in 0..<type.count {
        if try hasKernelState(member(index, of: type.id).type, depth: depth + 1) { return true }
      }
      return false
    default:
      return false
    }
  }
}
