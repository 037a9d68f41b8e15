// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "Benchmarks",
  platforms: [.macOS("26.0")],
  dependencies: [
    .package(name: "MmapStorage", path: ".."),
    // Without traits it does not replace malloc: there is nothing here that it would have to count.
    .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
  ],
  targets: [
    .target(name: "CBaselines", linkerSettings: [.linkedLibrary("bpf")]),
    .executableTarget(
      name: "Pairs",
      dependencies: [
        "CBaselines",
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
