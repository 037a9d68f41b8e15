// SPDX-License-Identifier: Apache-2.0

// Its interface has types of LibBPF.
@_exported public import LibBPF
