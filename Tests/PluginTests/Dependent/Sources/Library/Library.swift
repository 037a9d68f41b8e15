import MmapStorage

/// The image of `request-tags.bpf.c`, for the other modules.
public func requestTags() -> BPFObjectImage { .requestTags }
