// swift-tools-version: 6.2
import PackageDescription

let swiftSettings: [SwiftSetting] = [
  .enableExperimentalFeature("Lifetimes"),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
  name: "MmapStorage",
  products: [
    .library(name: "MmapStorage", targets: ["MmapStorage"]),
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
    .target(name: "CLibBPFShim", dependencies: ["CLibBPF"]),
    .target(
      name: "MmapStorage",
      dependencies: [
        "CLibBPFShim",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .target(
      name: "MmapStorageTesting",
      dependencies: ["MmapStorage"],
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "bpf-embed",
      dependencies: [.product(name: "SystemPackage", package: "swift-system")],
      swiftSettings: swiftSettings
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
        "MmapStorage", "MmapStorageTesting", "CTestValues",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
  ],
  swiftLanguageModes: [.v6]
)
