// SPDX-License-Identifier: Apache-2.0
import MmapStorage

/// `struct request_tag` of request-tags.bpf.c.
struct RequestTag: MapValue {
  var requestID: UInt64
  var priority: UInt32
  var calls: UInt32
}
