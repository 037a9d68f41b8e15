// SPDX-License-Identifier: Apache-2.0

// Users import only MmapStorage.
@_exported public import BPFMaps
@_exported public import LibBPF
@_exported public import MapValues
