// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
  name: "Benchmarks",
  platforms: [.macOS("26.0")],
  dependencies: [
    .package(name: "MmapStorage", path: ".."),
    // Without traits, the package does not replace malloc, because no benchmark counts allocations.
    .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
  ],
  targets: [
    .target(name: "CBaselines", linkerSettings: [.linkedLibrary("bpf")]),
    .target(
      name: "Operations",
      dependencies: ["CBaselines", .product(name: "MmapStorage", package: "MmapStorage")],
      exclude: ["Programs"],
      plugins: [.plugin(name: "BPFPlugin", package: "MmapStorage")]
    ),
    .executableTarget(
      name: "Counts",
      dependencies: [
        "CBaselines", "Operations",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "MmapStorage", package: "MmapStorage"),
        .product(name: "MmapStorageTesting", package: "MmapStorage"),
      ]
    ),
    .executableTarget(
      name: "KernelSide",
      dependencies: [
        "CBaselines", "Operations", .product(name: "MmapStorage", package: "MmapStorage"),
      ],
      exclude: ["Programs"],
      plugins: [.plugin(name: "BPFPlugin", package: "MmapStorage")]
    ),
    .target(name: "CSwiftTaskCosts", linkerSettings: [.linkedLibrary("bpf")]),
    .executableTarget(
      name: "SwiftTaskCosts",
      dependencies: [
        "CSwiftTaskCosts", .product(name: "MmapStorage", package: "MmapStorage"),
        .product(name: "MmapStorageTesting", package: "MmapStorage"),
      ],
      exclude: ["Programs"],
      plugins: [.plugin(name: "BPFPlugin", package: "MmapStorage")]
    ),
    .executableTarget(
      name: "Pairs",
      dependencies: [
        "CBaselines", "Operations",
        .product(name: "Benchmark", package: "benchmark"),
        .product(name: "MmapStorage", package: "MmapStorage"),
        .product(name: "MmapStorageTesting", package: "MmapStorage"),
      ],
      path: "Benchmarks/Pairs",
      exclude: ["Programs"],
      plugins: [
        .plugin(name: "BenchmarkPlugin", package: "benchmark"),
        .plugin(name: "BPFPlugin", package: "MmapStorage"),
      ]
    ),
  ],
  swiftLanguageModes: [.v6]
)
