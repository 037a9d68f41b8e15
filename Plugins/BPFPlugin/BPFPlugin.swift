// SPDX-License-Identifier: Apache-2.0
import Foundation
import PackagePlugin

/// Compiles every `*.bpf.c` file of a Swift target and embeds the object in the target's code.
///
/// `request-tags.bpf.c` becomes `BPFObjectImage.requestTags`. The object file itself stays in the
/// plugin's work directory, for bpftool and other tools.
@main
struct BPFPlugin: BuildToolPlugin {
  func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
    guard let target = target as? SwiftSourceModuleTarget else {
      throw PluginError(
        "BPFPlugin generates Swift code and supports Swift targets only; '\(target.name)' is not one"
      )
    }
    let sources = bpfSources(below: target.directoryURL, of: target, in: context.package)
    if sources.isEmpty {
      Diagnostics.warning(
        "target '\(target.name)' uses BPFPlugin, but there is no *.bpf.c file below "
          + target.directoryURL.filePath
      )
      return []
    }
    let library = "MmapStorage"
    guard
      target.name == library
        || target.recursiveTargetDependencies.contains(where: { $0.name == library })
    else {
      throw PluginError(
        "target '\(target.name)' uses BPFPlugin, but does not depend on MmapStorage, which its "
          + "generated code imports; add .product(name: \"MmapStorage\", package: \"…\")"
      )
    }

    let compiler = BPFCompiler(
      clang: try clang(of: context),
      target: target,
      package: context.package
    )
    let embed = try context.tool(named: "bpf-embed").url
    return try programs(from: sources).map { program in
      try command(
        for: program,
        compiler: compiler,
        embed: embed,
        module: target.moduleName,
        in: context.pluginWorkDirectoryURL
      )
    }
  }

  /// SwiftPM finds the toolchain's clang before those in `PATH`.
  private func clang(of context: PluginContext) throws -> URL {
    let toolchains = (try? context.tool(named: "clang").url).map { [$0] } ?? []
    let others = clangs(inPath: ProcessInfo.processInfo.environment["PATH"] ?? "")
    if let clang = clangWithBPFTarget(of: toolchains + others) { return clang }
    throw PluginError(
      toolchains.isEmpty
        ? "BPFPlugin found no clang: it belongs to the Swift toolchain (not to its 'slim' images); "
          + "install a full toolchain from https://www.swift.org/install, or a clang that has the "
          + "bpf target (apt-get install clang)"
        : "\(toolchains[0].filePath) was built without the bpf target, and no clang in PATH has it; "
          + "install a toolchain from https://www.swift.org/install, or another clang "
          + "(apt-get install clang)"
    )
  }

  /// Asks clang for the source's headers at planning time. SwiftPM runs the plugin again only when
  /// files are added or removed, so `bpf-embed` compares the files that clang read with this list,
  /// and runs again in the next build if they differ.
  private func command(
    for program: BPFProgram,
    compiler: BPFCompiler,
    embed: URL,
    module: String,
    in directory: URL
  ) throws -> Command {
    let object = directory.appending(path: "\(program.name).bpf.o")
    let generated = directory.appending(path: "BPFObjectImage+\(program.name).swift")
    let bindings = directory.appending(path: "\(program.name).bpf.swift")
    // The library does not use a typed interface to its own programs.
    let hasBindings = module != "MmapStorage"
    let plan = directory.appending(path: "\(program.name).plan.d")

    let rule =
      compiler.dependencyRule(of: program.source, for: object)
      ?? (try? String(contentsOf: plan, encoding: .utf8)) ?? ""
    try writeIfChanged(rule, to: plan)
    let headers = DependencyRule.prerequisites(in: rule).map { URL(filePath: $0) }
      .filter { $0 != program.source && FileManager.default.fileExists(atPath: $0.filePath) }

    return .buildCommand(
      displayName: "Compiling \(program.name).bpf.c for BPF",
      executable: embed,
      arguments: [
        "--name", program.name,
        "--identifier", program.identifier,
        "--module", module,
        "--plan", plan.filePath,
        "--object", object.filePath,
        "--swift", generated.filePath,
      ] + (hasBindings ? ["--bindings", bindings.filePath] : []) + [
        "--source", program.source.filePath,
        "--", compiler.clang.filePath,
      ] + compiler.flags,
      inputFiles: [program.source, plan, compiler.clang] + headers,
      outputFiles: hasBindings ? [generated, bindings] : [generated]
    )
  }

  private func writeIfChanged(_ text: String, to file: URL) throws {
    let data = Data(text.utf8)
    if (try? Data(contentsOf: file)) != data { try data.write(to: file, options: .atomic) }
  }
}
