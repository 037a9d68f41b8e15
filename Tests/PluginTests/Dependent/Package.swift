// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A user's package for scripts/check-plugin, which copies it and sets the path of MmapStorage.
let mmapStorage = Context.environment["MMAPSTORAGE_PATH"] ?? "../../.."

// The strictest settings of users.
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
