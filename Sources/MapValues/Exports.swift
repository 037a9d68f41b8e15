// SPDX-License-Identifier: Apache-2.0

// Types of LibBPF are part of the public interface.
@_exported public import LibBPF
