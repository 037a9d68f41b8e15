import MmapStorage

/// `struct counters` of baselines.h and values.bpf.c.
public struct Counters: MapValue, BitwiseCopyable {
  public var a: UInt64 = 0
  public var b: UInt64 = 0
  public var c: UInt32 = 0
  public var d: UInt32 = 0
  public var e: UInt16 = 0
  public var f: UInt16 = 0
  public var g: UInt8 = 0
  public var h: UInt8 = 0
  public var reserved: UInt16 = 0
  public var more: InlineArray<4, UInt64> = .init(repeating: 0)
}
