// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// In CI, warnings are errors. In builds of users they are not.
let strict = Context.environment["MMAPSTORAGE_CI"] != nil

let cSettings: [CSetting] = strict ? [.treatAllWarnings(as: .error)] : []

let swiftSettings: [SwiftSetting] =
  [
    .enableExperimentalFeature("Lifetimes"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
  ] + (strict ? [.treatAllWarnings(as: .error)] : [])

/// For the modules below `Sources/`, not for tests: each use of unsafe code is marked with `unsafe`.
let sourceSettings: [SwiftSetting] = swiftSettings + [.strictMemorySafety()]

let package = Package(
  name: "MmapStorage",
  products: [
    .library(name: "MmapStorage", targets: ["MmapStorage"]),
    .library(name: "LibBPF", targets: ["LibBPF"]),
    .library(name: "MmapStorageBroker", targets: ["MmapStorageBroker"]),
    .library(name: "MmapStorageInspection", targets: ["MmapStorageInspection"]),
    .library(name: "MmapStorageTesting", targets: ["MmapStorageTesting"]),
    .plugin(name: "BPFPlugin", targets: ["BPFPlugin"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-system", from: "1.6.0")
  ],
  targets: [
    .systemLibrary(
      name: "CLibBPF",
      pkgConfig: "libbpf",
      providers: [.apt(["libbpf-dev"])]
    ),
    .target(
      name: "CLibBPFShim",
      dependencies: ["CLibBPF"],
      cSettings: cSettings
    ),
    .target(name: "BPFHeaders"),
    .target(
      name: "LibBPF",
      dependencies: [
        "CLibBPF", "CLibBPFShim",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: sourceSettings
    ),
    .target(
      name: "MapValues",
      dependencies: ["CLibBPFShim", "LibBPF"],
      swiftSettings: sourceSettings
    ),
    .target(
      name: "BPFMaps",
      dependencies: [
        "CLibBPFShim", "LibBPF", "MapValues",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: sourceSettings
    ),
    .target(
      name: "MmapStorage",
      dependencies: [
        "BPFHeaders", "BPFMaps", "CLibBPFShim", "LibBPF", "MapValues",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      exclude: ["Backends/calling-task.bpf.c", "Inspection/task-values.bpf.c"],
      swiftSettings: sourceSettings,
      plugins: ["BPFPlugin"]
    ),
    .target(
      name: "MmapStorageBroker",
      dependencies: [
        "CLibBPFShim", "LibBPF", "MmapStorage",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: sourceSettings
    ),
    .target(
      name: "MmapStorageInspection",
      dependencies: ["LibBPF", "MapValues", "MmapStorage"],
      swiftSettings: sourceSettings
    ),
    .target(
      name: "MmapStorageTesting",
      dependencies: ["LibBPF", "MmapStorage"],
      swiftSettings: sourceSettings
    ),
    .target(
      name: "BPFBindings",
      dependencies: ["LibBPF"],
      swiftSettings: sourceSettings
    ),
    .executableTarget(
      name: "bpf-embed",
      dependencies: ["BPFBindings", "LibBPF"],
      swiftSettings: sourceSettings
    ),
    .plugin(
      name: "BPFPlugin",
      capability: .buildTool(),
      dependencies: ["bpf-embed"]
    ),
    .target(name: "CTestValues", path: "Tests/CTestValues"),
    .testTarget(
      name: "MmapStorageTests",
      dependencies: [
        "MmapStorage", "MmapStorageInspection", "MmapStorageTesting", "TestSupport", "CTestValues",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "BPFBindingsTests",
      dependencies: ["BPFBindings", "LibBPF"],
      swiftSettings: swiftSettings
    ),
    .target(name: "CTestSupport", path: "Tests/CTestSupport", cSettings: cSettings),
    .target(
      name: "TestSupport",
      dependencies: [
        "CLibBPFShim", "MmapStorage", .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "Tests/TestSupport",
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "BackendTests",
      dependencies: [
        "CLibBPFShim", "LibBPF", "MmapStorage", "MmapStorageTesting", "TestSupport",
        "CTestSupport",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      exclude: ["Programs"],
      swiftSettings: swiftSettings,
      plugins: ["BPFPlugin"]
    ),
    .testTarget(
      name: "LiveKernelTests",
      dependencies: [
        "CLibBPFShim", "LibBPF", "MmapStorage", "MmapStorageBroker", "MmapStorageInspection",
        "TestSupport", "CTestSupport",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      exclude: ["Programs"],
      swiftSettings: swiftSettings,
      plugins: ["BPFPlugin"]
    ),
    .executableTarget(
      name: "stress",
      dependencies: ["MmapStorage", "MmapStorageTesting", "TestSupport", "CTestSupport"],
      path: "Tests/Stress",
      exclude: ["Programs"],
      swiftSettings: swiftSettings,
      plugins: ["BPFPlugin"]
    ),
    .executableTarget(
      name: "swift-task-process",
      dependencies: [
        "MmapStorage", "TestSupport", "CTestSupport",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "Tests/SwiftTaskProcess",
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "SwiftTaskTests",
      dependencies: [
        "LibBPF", "MmapStorage", "MmapStorageTesting", "CLibBPFShim", "TestSupport", "CTestSupport",
        "swift-task-process",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      exclude: ["Programs"],
      swiftSettings: swiftSettings,
      plugins: ["BPFPlugin"]
    ),
  ],
  swiftLanguageModes: [.v6]
)
