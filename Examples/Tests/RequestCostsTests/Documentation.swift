// SPDX-License-Identifier: Apache-2.0
import Hummingbird
import Logging
import RequestCosts
import Testing

/// The code of the README and of RequestCosts.md.
@Suite struct Documentation {
  @Test func aServiceWithCosts() async throws {
    let logger = Logger(label: "documentation", factory: { _ in SwiftLogNoOpLogHandler() })
    let router = Router()
    let costs = await RequestCosts.start(logger: logger)
    router.add(middleware: RequestCostsMiddleware(costs))
    let application = Application(router: router, server: .http1(countedBy: costs))
    costs.stop()
    #expect(application.services.isEmpty)
    #expect(costs.report().routes.isEmpty)
  }

  @Test func aServiceWithoutRights() async throws {
    let logger = Logger(label: "documentation", factory: { _ in SwiftLogNoOpLogHandler() })
    let costs = await RequestCosts.start(logger: logger, pinnedIn: "/sys/fs/bpf/request-costs")
    costs.stop()
    #expect(costs.report().routes.isEmpty)
  }
}
