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
  dependencies: [
    .package(name: "MmapStorage", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.80.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.6.0"),
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
