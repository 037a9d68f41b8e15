// SPDX-License-Identifier: Apache-2.0
/* Nothing to compile: the target exists for its headers, which the plugin gives to BPF programs. */
