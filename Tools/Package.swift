// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let strict = Context.environment["MMAPSTORAGE_CI"] != nil
let swiftSettings: [SwiftSetting] =
  [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
  ] + (strict ? [.treatAllWarnings(as: .error)] : [])

let mmapStorage: Target.Dependency = .product(name: "MmapStorage", package: "MmapStorage")
let mmapStorageBroker: Target.Dependency = .product(
  name: "MmapStorageBroker",
  package: "MmapStorage"
)
let mmapStorageInspection: Target.Dependency = .product(
  name: "MmapStorageInspection",
  package: "MmapStorage"
)
let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let argumentParser: Target.Dependency = .product(
  name: "ArgumentParser",
  package: "swift-argument-parser"
)

let package = Package(
  name: "Tools",
  products: [
    .executable(name: "mmapstorage", targets: ["mmapstorage"]),
    .executable(name: "mmapstorage-broker", targets: ["mmapstorage-broker"]),
  ],
  dependencies: [
    .package(name: "MmapStorage", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.6.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.6.0"),
  ],
  targets: [
    .executableTarget(
      name: "mmapstorage",
      dependencies: [mmapStorage, mmapStorageInspection, argumentParser, systemPackage],
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "mmapstorage-broker",
      dependencies: [
        mmapStorage, mmapStorageBroker, argumentParser, systemPackage,
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
      ],
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "request-service",
      dependencies: [mmapStorage, mmapStorageBroker, systemPackage],
      exclude: ["requests.bpf.c"],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "ToolTests",
      dependencies: [
        "mmapstorage", "mmapstorage-broker", "request-service", mmapStorage, mmapStorageBroker,
        mmapStorageInspection, systemPackage,
      ],
      exclude: [
        "all-kinds.bpf.c", "request-service.bpf.c", "requests.bpf.c", "requests-old.bpf.c",
        "without-storage.bpf.c",
      ],
      swiftSettings: swiftSettings,
      plugins: [.plugin(name: "BPFPlugin", package: "MmapStorage")]
    ),
  ],
  swiftLanguageModes: [.v6]
)
