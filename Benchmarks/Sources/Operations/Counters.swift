// SPDX-License-Identifier: Apache-2.0

/// `struct counters` of baselines.h and values.bpf.c.
package typealias Counters = Values.Counters
