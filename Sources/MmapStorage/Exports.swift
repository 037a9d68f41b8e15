// SPDX-License-Identifier: Apache-2.0

// `import MmapStorage` is all that a user writes.
@_exported public import BPFMaps
@_exported public import LibBPF
@_exported public import MapValues
