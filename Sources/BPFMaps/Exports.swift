// SPDX-License-Identifier: Apache-2.0

// Types of these modules are part of the public interface.
@_exported public import LibBPF
@_exported public import MapValues
