// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
  name: "App",
  dependencies: [
    .package(path: "../Plugins"),
    .package(name: "MmapStorage", path: Context.environment["MMAPSTORAGE_PATH"] ?? "../../.."),
  ],
  targets: [
    .executableTarget(
      name: "App",
      dependencies: [
        .product(name: "First", package: "Plugins"),
        .product(name: "Second", package: "Plugins"),
        .product(name: "MmapStorage", package: "MmapStorage"),
        .product(name: "MmapStorageTesting", package: "MmapStorage"),
      ]
    )
  ]
)
