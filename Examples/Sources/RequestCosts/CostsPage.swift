// SPDX-License-Identifier: Apache-2.0

/// The page at `/costs`. It loads only `costs.json`, in the same directory.
enum CostsPage {
  /// Forbids all other sources.
  static let policy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    + "img-src data:"

  static let html = #"""
    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Request costs</title>
    <link rel="icon" href="data:,">
    <style>
    :root {
      color-scheme: light dark;
      --back: #f6f7f9; --card: #ffffff; --text: #1c2430; --soft: #596577; --line: #d9dee6;
      --user: #2f6fde; --kernel: #7fb0ff; --queue: #e0a100;
      --futex: #c2403d; --file: #2f8f5b; --socket: #12908e; --sleep: #8e6cc9; --poll: #a9b2bf;
      --fault: #b4632a; --other: #6b7480;
    }
    @media (prefers-color-scheme: dark) {
      :root {
        --back: #12161c; --card: #1b212a; --text: #e6ebf2; --soft: #9aa7b8; --line: #303946;
        --user: #5b93f5; --kernel: #2c5597; --queue: #e9b93c; --futex: #e0605c; --file: #4fb27d;
        --socket: #3bb5b2; --sleep: #ab8be0; --poll: #56616f; --fault: #d28a54; --other: #8a95a3;
      }
    }
    * { box-sizing: border-box; }
    body {
      margin: 0 auto; max-width: 1500px; padding: 1rem; background: var(--back); color: var(--text);
      font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
    }
    h1 { font-size: 1.35rem; margin: 0; }
    h2 { font-size: 1.05rem; margin: 1.6rem 0 .6rem; }
    p { margin: .25rem 0; color: var(--soft); }
    .warning { color: var(--text); border-left: 4px solid var(--queue); padding-left: .6rem; }
    .legend { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: .8rem 0; font-size: .85rem; }
    .legend span::before {
      content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .4em;
      border-radius: 2px; background: var(--color); vertical-align: -1px;
    }
    .card {
      background: var(--card); border: 1px solid var(--line); border-radius: 8px;
      padding: .7rem .9rem; margin-bottom: .6rem;
    }
    .route { display: grid; grid-template-columns: minmax(9rem, 14rem) 1fr; gap: .3rem 1rem; }
    .name { font-weight: 600; overflow-wrap: anywhere; }
    .bar { display: flex; height: 1.2rem; border-radius: 4px; overflow: hidden;
      background: var(--line); }
    .bar i { display: block; background: var(--color); }
    .figures { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .1rem 1.2rem;
      font-size: .85rem; color: var(--soft); font-variant-numeric: tabular-nums; }
    .figures b { color: var(--text); font-weight: 600; }
    @media (max-width: 640px) { .route { grid-template-columns: 1fr; } body { padding: .6rem; } }
    </style>
    </head>
    <body>
    <h1>Request costs</h1>
    <p id="source">Loading …</p>
    <div id="warnings"></div>
    <div class="legend" id="legend" aria-hidden="true"></div>
    <h2>Routes <small>(a request on average)</small></h2>
    <div id="routes"></div>
    <h2>Slowest requests</h2>
    <div id="slowest"></div>
    <script>
    "use strict";
    const causes = ["futex", "file", "socket", "sleep", "poll", "fault", "other"];
    const parts = [["user", "CPU, user"], ["kernel", "CPU, in system calls"], ["queue", "run queue"]]
      .concat(causes.map((cause) => [cause, "blocked: " + cause]));
    const element = (name, text, kind) => {
      const made = document.createElement(name);
      if (text !== undefined) made.textContent = text;
      if (kind) made.className = kind;
      return made;
    };
    const time = (ns) => {
      if (ns < 995) return Math.round(ns) + " ns";
      if (ns < 995e3) return (ns / 1e3).toPrecision(3) + " µs";
      if (ns < 995e6) return (ns / 1e6).toPrecision(3) + " ms";
      return (ns / 1e9).toPrecision(3) + " s";
    };
    const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
    const values = (costs) => {
      const all = { user: costs.userNanoseconds, kernel: costs.kernelNanoseconds,
        queue: costs.runQueueNanoseconds };
      for (const cause of causes) all[cause] = costs.blockedNanoseconds[cause] || 0;
      return all;
    };
    const card = (title, costs, count, figures) => {
      const route = element("div", undefined, "card route");
      route.append(element("div", title, "name"));
      const bar = element("div", undefined, "bar");
      const all = values(costs);
      const total = sum(all);
      const label = [];
      for (const [key, text] of parts) {
        if (!all[key]) continue;
        const part = element("i");
        part.style.setProperty("--color", `var(--${key})`);
        part.style.width = 100 * all[key] / total + "%";
        part.title = `${text}: ${time(all[key] / count)}`;
        label.push(part.title);
        bar.append(part);
      }
      bar.setAttribute("role", "img");
      bar.setAttribute("aria-label", label.join(", ") || "no costs");
      route.append(bar);
      const list = element("div", undefined, "figures");
      figures = figures.concat([
        ["CPU", time((all.user + all.kernel) / count)],
        ["run queue", time(all.queue / count)],
        ["blocked", time(sum(costs.blockedNanoseconds) / count)],
        ["system calls", (sum(costs.calls) / count).toFixed(1)],
        ["page faults", (costs.pageFaults / count).toFixed(1)],
      ]);
      for (const [name, value] of figures) {
        const figure = element("span", name + " ");
        figure.append(element("b", value));
        list.append(figure);
      }
      route.append(list);
      return route;
    };
    for (const [key, text] of parts) {
      const item = element("span", text);
      item.style.setProperty("--color", `var(--${key})`);
      document.getElementById("legend").append(item);
    }
    let before = null;
    const show = (report) => {
      document.getElementById("source").textContent =
        `${report.source} · ${Math.round(report.seconds)} s · ${report.running} running`;
      const warnings = report.missing.slice();
      if (report.obstacle) warnings.unshift("No kernel costs: " + report.obstacle);
      if (report.withoutSlot) warnings.push(`${report.withoutSlot} parts of requests had no slot`);
      if (report.missedRuns) warnings.push(`${report.missedRuns} events were not counted`);
      if (report.unreadable) warnings.push(
        `${report.unreadable} events count as outside of requests: the kernel was moving memory`);
      document.getElementById("warnings").replaceChildren(
        ...warnings.map((text) => element("p", text, "warning")));
      const earlier = new Map((before ? before.routes : []).map((route) => [route.route, route]));
      const seconds = before ? report.seconds - before.seconds : report.seconds;
      const cards = report.routes.map((route) => {
        const known = earlier.get(route.route);
        const rate = (route.requests - (known ? known.requests : 0)) / seconds;
        return card(route.route, route.costs, Math.max(1, route.requests), [
          ["requests", String(route.requests)], ["per second", rate.toFixed(0)],
          ["p50", time(route.p50Nanoseconds)], ["p99", time(route.p99Nanoseconds)],
        ]);
      });
      if (report.outside) {
        cards.push(card("outside of requests (sum)", report.outside, 1, [
          ["process CPU", time(report.processNanoseconds)],
        ]));
      }
      document.getElementById("routes").replaceChildren(...cards);
      document.getElementById("slowest").replaceChildren(...report.slowest.map((request) =>
        card(`${request.route} ${request.status}`, request.costs, 1, [
          ["took", time(request.nanoseconds)], ["request", `${request.id} ${request.name}`],
        ].concat(request.traceID ? [["trace", request.traceID]] : []))));
      before = report;
    };
    const update = async () => {
      try {
        const answer = await fetch(location.pathname + ".json", { cache: "no-store" });
        if (!answer.ok) throw new Error("status " + answer.status);
        show(await answer.json());
        document.body.dataset.updates = 1 + Number(document.body.dataset.updates || 0);
      } catch (error) {
        document.getElementById("source").textContent = "No answer from the server: " + error.message;
      }
      setTimeout(update, 1000);
    };
    update();
    </script>
    </body>
    </html>
    """#
}
