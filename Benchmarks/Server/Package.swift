// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A separate package, because the other benchmarks need no server.
let package = Package(
  name: "Server",
  platforms: [.macOS("26.0")],
  dependencies: [
    .package(name: "MmapStorage", path: "../.."),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
  ],
  targets: [
    .executableTarget(
      name: "ServerCosts",
      dependencies: [
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "MmapStorage", package: "MmapStorage"),
      ],
      exclude: ["Programs"],
      plugins: [.plugin(name: "BPFPlugin", package: "MmapStorage")]
    )
  ],
  swiftLanguageModes: [.v6]
)
