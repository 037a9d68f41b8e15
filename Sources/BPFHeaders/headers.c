// SPDX-License-Identifier: Apache-2.0
/* A C target needs a source file. The plugin passes this target's headers to BPF programs. */
