// SPDX-License-Identifier: Apache-2.0

/// `struct request_tag` of request-tags.bpf.c.
typealias RequestTag = RequestTags.RequestTag
