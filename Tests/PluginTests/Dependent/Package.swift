// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A package like a user's, for scripts/check-plugin, which copies it and says where MmapStorage is.
let mmapStorage = Context.environment["MMAPSTORAGE_PATH"] ?? "../../.."

// The strictest of what users set.
let swiftSettings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .treatAllWarnings(as: .error),
]

let package = Package(
  name: "Dependent",
  dependencies: [.package(name: "MmapStorage", path: mmapStorage)],
  targets: [
    .target(name: "CShared"),
    .target(
      name: "Library",
      dependencies: ["CShared", .product(name: "MmapStorage", package: "MmapStorage")],
      exclude: ["public-tags.bpf.c", "request-tags.bpf.c"],
      swiftSettings: swiftSettings,
      plugins: [.plugin(name: "BPFPlugin", package: "MmapStorage")]
    ),
    .executableTarget(
      name: "App",
      dependencies: ["Library", .product(name: "MmapStorage", package: "MmapStorage")],
      exclude: ["BPF"],
      swiftSettings: swiftSettings,
      plugins: [.plugin(name: "BPFPlugin", package: "MmapStorage")]
    ),
    .testTarget(
      name: "LibraryTests",
      dependencies: ["Library", .product(name: "MmapStorage", package: "MmapStorage")],
      exclude: ["in-tests.bpf.c"],
      plugins: [.plugin(name: "BPFPlugin", package: "MmapStorage")]
    ),
  ],
  swiftLanguageModes: [.v6]
)
