// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let strict = Context.environment["MMAPSTORAGE_CI"] != nil
let swiftSettings: [SwiftSetting] = strict ? [.treatAllWarnings(as: .error)] : []

let mmapStorage: Target.Dependency = .product(name: "MmapStorage", package: "MmapStorage")
let mmapStorageTesting: Target.Dependency = .product(
  name: "MmapStorageTesting",
  package: "MmapStorage"
)
let bpfPlugin: Target.PluginUsage = .plugin(name: "BPFPlugin", package: "MmapStorage")

let package = Package(
  name: "Examples",
  products: [
    .library(name: "RequestCosts", targets: ["RequestCosts"])
  ],
  dependencies: [
    .package(name: "MmapStorage", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.0"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.14.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.9.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.80.0"),
    .package(url: "https://github.com/apple/swift-nio-extras", from: "1.26.0"),
    .package(url: "https://github.com/apple/swift-service-context", from: "1.2.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.6.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.8.0"),
  ],
  targets: [
    .executableTarget(
      name: "hello",
      dependencies: [mmapStorage],
      exclude: ["hello.bpf.c"],
      swiftSettings: swiftSettings,
      plugins: [bpfPlugin]
    ),
    .executableTarget(
      name: "getting-started",
      dependencies: [mmapStorage],
      exclude: ["request-tags.bpf.c"],
      swiftSettings: swiftSettings,
      plugins: [bpfPlugin]
    ),
    .executableTarget(
      name: "follow",
      dependencies: [mmapStorage],
      exclude: ["follow.bpf.c"],
      swiftSettings: swiftSettings,
      plugins: [bpfPlugin]
    ),
    .executableTarget(
      name: "other-maps",
      dependencies: [mmapStorage],
      exclude: ["system-calls.bpf.c"],
      swiftSettings: swiftSettings,
      plugins: [bpfPlugin]
    ),
    .target(
      name: "SyscallCounting",
      dependencies: [mmapStorage, .product(name: "SystemPackage", package: "swift-system")],
      exclude: ["syscall-counters.bpf.c"],
      swiftSettings: swiftSettings,
      plugins: [bpfPlugin]
    ),
    .executableTarget(
      name: "syscall-counters",
      dependencies: [
        "SyscallCounting",
        mmapStorage,
        mmapStorageTesting,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "SyscallCountingTests",
      dependencies: ["SyscallCounting", mmapStorage, mmapStorageTesting],
      swiftSettings: swiftSettings
    ),
    .target(name: "CProcessControl"),
    .target(
      name: "RequestCosts",
      dependencies: [
        "CProcessControl",
        mmapStorage,
        .product(name: "Histogram", package: "hdrhistogram-swift"),
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "Instrumentation", package: "swift-distributed-tracing"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOEmbedded", package: "swift-nio"),
        .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
        .product(name: "ServiceContextModule", package: "swift-service-context"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      exclude: ["costs-programs.bpf.c"],
      swiftSettings: swiftSettings,
      plugins: [bpfPlugin]
    ),
    .target(
      name: "RequestCostsDemo",
      dependencies: [
        "RequestCosts",
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "request-costs",
      dependencies: [
        "RequestCosts", "RequestCostsDemo", mmapStorage, mmapStorageTesting,
        .product(name: "SystemPackage", package: "swift-system"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "request-costs-loader",
      dependencies: [
        "RequestCosts", mmapStorage,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "RequestCostsTests",
      dependencies: [
        "CProcessControl", "RequestCosts", "RequestCostsDemo", "request-costs",
        "request-costs-loader", mmapStorage, mmapStorageTesting,
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "Instrumentation", package: "swift-distributed-tracing"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "MetricsTestKit", package: "swift-metrics"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOEmbedded", package: "swift-nio"),
        .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
        .product(name: "ServiceContextModule", package: "swift-service-context"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      exclude: ["busy-control.bpf.c"],
      swiftSettings: swiftSettings,
      plugins: [.plugin(name: "BPFPlugin", package: "MmapStorage")]
    ),
    .testTarget(
      name: "SwiftNIOTests",
      dependencies: [
        mmapStorage,
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      exclude: ["requests.bpf.c"],
      swiftSettings: swiftSettings,
      plugins: [bpfPlugin]
    ),
    .target(name: "CWaitTime"),
    .testTarget(
      name: "DocumentationTests",
      dependencies: [
        "CWaitTime",
        mmapStorage,
        mmapStorageTesting,
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      exclude: [
        "missing-null-check.bpf.c", "misspelt-tracepoint.bpf.c", "nested-structures.bpf.c",
        "request-tags.bpf.c", "requests.bpf.c", "wait-times.bpf.c",
      ],
      swiftSettings: swiftSettings,
      plugins: [bpfPlugin]
    ),
  ],
  swiftLanguageModes: [.v6]
)
