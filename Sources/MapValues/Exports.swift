// SPDX-License-Identifier: Apache-2.0

// Types of LibBPF and the orderings of atomic operations are part of the public interface.
@_exported public import LibBPF
@_exported public import struct Synchronization.AtomicLoadOrdering
@_exported public import struct Synchronization.AtomicStoreOrdering
