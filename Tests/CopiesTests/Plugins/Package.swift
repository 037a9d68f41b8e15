// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// Three dynamic libraries, each with a copy of the library.
let names = ["First", "Second", "Third"]

let package = Package(
  name: "Plugins",
  products: names.map { .library(name: $0, type: .dynamic, targets: [$0]) },
  dependencies: [
    .package(name: "MmapStorage", path: Context.environment["MMAPSTORAGE_PATH"] ?? "../../..")
  ],
  targets: names.map {
    .target(
      name: $0,
      dependencies: [
        .product(name: "MmapStorage", package: "MmapStorage"),
        .product(name: "MmapStorageTesting", package: "MmapStorage"),
      ]
    )
  }
)
