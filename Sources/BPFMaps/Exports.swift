// SPDX-License-Identifier: Apache-2.0

// Its interface has their types.
@_exported public import LibBPF
@_exported public import MapValues
