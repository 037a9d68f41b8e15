// SPDX-License-Identifier: Apache-2.0
public import MmapStorage

/// The image of `request-tags.bpf.c`, for the other modules.
public func requestTags() -> BPFObjectImage { .requestTags }
