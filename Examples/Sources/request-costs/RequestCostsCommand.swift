// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

@main
struct RequestCostsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "request-costs",
    abstract: "Shows the kernel-side costs of each route of a Hummingbird server.",
    subcommands: [Serve.self, Load.self, Measure.self],
    defaultSubcommand: Serve.self
  )
}
