"use strict";
// Draws what /api/state tells. Rows: time ms, arrivals/s, wanted, ready, starting, running, queue, TTFT p50, p95, p99.
(() => {
  const KEEP_ROWS = 3600;
  const POLL_MS = 1000;
  const $ = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  const format = (value, digits) => (isNumber(value) ? value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits }) : "–");
  const seconds = (value) => (!isNumber(value) ? "–" : value < 10 ? format(value, 2) : format(value, 1));
  const span = (value) => (value < 90 ? `${Math.floor(value)} s` : value < 5400 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`);
  const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

  const rows = new Map();
  let events = [];
  let nextEvent = 0;
  let lastRow = 0;
  let chosen = null;
  let shownSeconds = 180;
  let state = null;
  let plots = [];

  const element = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // One entry a chart: which columns, how they look. Columns are those of a row; "objective" is a constant line.
  const charts = () => {
    const line = (column, label, color, more) => ({ column, label, stroke: css(color), width: 2, points: { show: false }, ...more });
    const steps = uPlot.paths.stepped({ align: 1 });
    return [
      { id: "plot-demand", unit: "req/s", digits: 0, least: 5, series: [line(1, "arrivals", "--blue", { fill: css("--blue-fill") })] },
      { id: "plot-engines", unit: "engines", digits: 0, least: 2, whole: true, series: [
        line(3, "taking requests", "--green", { fill: css("--green-fill"), paths: steps }),
        line(4, "starting", "--orange", { paths: steps, dash: [2, 3] }),
        line(2, "wanted", "--blue", { paths: steps }),
      ] },
      { id: "plot-ttft", unit: "seconds", digits: 2, least: 0.1, objective: true, series: [
        line(9, "p99", "--red", {}), line(8, "p95", "--orange", {}), line(7, "p50", "--green", {}),
        line("objective", "objective", "--grey", { dash: [6, 5], width: 1.5 }),
      ] },
      { id: "plot-queue", unit: "requests", digits: 0, least: 4, series: [
        line(5, "being served", "--green", { fill: css("--green-fill") }), line(6, "waiting", "--red", {}),
      ] },
    ];
  };

  const plotSize = (node) => ({ width: Math.max(260, Math.floor(node.clientWidth)), height: innerWidth <= 720 ? 180 : 204 });

  const build = () => {
    for (const { plot } of plots) plot.destroy();
    const axis = { stroke: css("--dim"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    plots = charts().map((chart) => {
      const node = $(chart.id);
      const value = (_, v) => (isNumber(v) ? (chart.digits ? seconds(v) : format(v, v < 10 && !chart.whole ? 1 : 0)) : "–");
      const options = {
        ...plotSize(node),
        padding: [8, 10, 0, 0],
        cursor: { sync: { key: "all" }, drag: { x: false, y: false }, points: { size: 7 } },
        legend: { live: true },
        scales: {
          x: { time: true, range: () => { const end = state ? state.at_ms / 1000 : Date.now() / 1000; return [end - shownSeconds, end]; } },
          y: { range: (_, low, high) => [0, Math.max(chart.least, (isNumber(high) ? high : 0) * 1.08)] },
        },
        axes: [
          { ...axis, size: 30, space: 76, values: (_, splits) => splits.map((t) => (shownSeconds <= 900 ? clock(t * 1000) : clock(t * 1000).slice(0, 5))) },
          { ...axis, size: 54, label: chart.unit, labelSize: 18, labelGap: 0, labelFont: "12px system-ui, sans-serif", space: 34,
            incrs: chart.whole ? [1, 2, 5, 10, 20, 50] : undefined },
        ],
        series: [{}, ...chart.series.map(({ column, ...series }) => ({ ...series, value, spanGaps: false }))],
      };
      return { chart, node, plot: new uPlot(options, [[], ...chart.series.map(() => [])], node) };
    });
    draw();
    resetDays();
  };

  const model = () => state && (state.models.find((m) => m.name === chosen) || state.models[0]);

  const draw = () => {
    const shown = model();
    if (!shown) return;
    const all = rows.get(shown.name) || [];
    const from = state.at_ms - shownSeconds * 1000;
    const part = all.slice(Math.max(0, all.findIndex((row) => row[0] >= from) - 1));
    // More points than pixels only cost time: take every n-th.
    const every = Math.max(1, Math.floor(part.length / 900));
    const thin = part.filter((_, place) => place % every === 0);
    const times = thin.map((row) => row[0] / 1000);
    for (const { chart, plot } of plots) {
      const columns = chart.series.map(({ column }) =>
        column === "objective" ? times.map(() => shown.objective_ttft_seconds) : thin.map((row) => row[column]));
      plot.setData([times, ...columns]);
      // Without a pointer over the plot the legend tells the present.
      if (plot.cursor.left < 0 && times.length) plot.setLegend({ idx: times.length - 1 }, false);
    }
  };

  const tile = (label, value, unit, note, className) => {
    const node = element("div", `tile ${className || ""}`);
    node.append(element("div", "label", label));
    const line = element("div", "value", value);
    if (unit) line.append(" ", element("small", "", unit));
    node.append(line, element("div", "note", note));
    return node;
  };

  const tiles = (shown) => {
    const now = shown.now || {};
    const [p50, p95, p99] = now.ttft_seconds || [];
    const answered = Object.entries(shown.answered_total);
    const total = answered.reduce((sum, [, count]) => sum + count, 0);
    const failed = answered.reduce((sum, [code, count]) => sum + (Number(code) >= 500 ? count : 0), 0);
    const others = [now.starting ? `${now.starting} starting` : "", shown.asleep ? `${shown.asleep} asleep` : ""].filter(Boolean);
    const starting = others.join(", ") || `of ${shown.min_replicas} to ${shown.max_replicas}`;
    const objective = shown.objective_ttft_seconds;
    $("tiles").replaceChildren(
      tile("Demand", format(now.arrivals_per_second, now.arrivals_per_second < 10 ? 1 : 0), "req/s", "arriving at the router"),
      tile("Engines ready", format(now.ready, 0), `/ ${format(now.wanted, 0)} wanted`, starting),
      tile("Waiting", format(now.queue, 0), "requests", `${format(now.running, 0)} being served`),
      tile("First token, p95", seconds(p95), "s", `p50 ${seconds(p50)} · p99 ${seconds(p99)} · goal ${format(objective, objective < 1 ? 2 : 0)}`, !isNumber(p95) ? "" : p95 <= objective ? "good" : "bad"),
      tile("Answered", format(total, 0), "", failed ? `${format(failed, 0)} failed (5xx)` : "none failed", failed ? "bad" : ""),
    );
  };

  const because = (shown) => {
    $("because").replaceChildren(...shown.because.map(({ reason, message }) => {
      const item = element("li");
      item.append(element("b", "", reason.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/ ([A-Z])(?=[a-z])/g, (m) => m.toLowerCase())), element("span", "", message));
      return item;
    }));
    // The first term repeats the first reason.
    const terms = shown.terms.filter(({ term }) => term !== "binding");
    $("terms").replaceChildren(...terms.flatMap(({ term, words }) => [element("dt", "", term), element("dd", "", words)]));
  };

  const happened = () => {
    $("events").replaceChildren(...events.slice(-80).reverse().map((event) => {
      const item = element("li", `${event.kind}${event.warning ? " warning" : ""}`);
      const text = element("span");
      text.append(element("b", "", event.about), " ", event.message);
      item.append(element("time", "", clock(event.at_ms)), text);
      return item;
    }));
  };

  // The last three days, each a plot of its own with the same scales.
  const DAYS_SHOWN = 3;
  let dayPlots = new Map();

  const days = (shown) => {
    // A day without a request yet would only push one out of sight.
    const last = (shown.days || []).filter((day) => day.requests > 0).slice(-DAYS_SHOWN);
    $("days").hidden = !last.length;
    if (!last.length) return;
    const season = last[0].season_seconds;
    const unit = season <= 300 ? [1, "s"] : season <= 10800 ? [60, "min"] : [3600, "h"];
    $("days-note").textContent = `a day is ${span(season)} of wall time; the optimum knows the future and misses nothing`;
    const most = Math.max(2, ...last.flatMap((day) => day.curve.flat()));
    const cells = last.map((day) => {
      const known = dayPlots.get(day.number);
      if (known) return known;
      const node = element("div");
      node.append(element("h3", "", `Day ${day.number}`));
      $("day-plots").append(node);
      const axis = { stroke: css("--dim"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      const scale = { most: 2 };
      const value = (_, v) => (isNumber(v) ? format(v, 1) : "–");
      const plot = new uPlot({
        width: Math.max(200, Math.floor(node.clientWidth)), height: 150, padding: [8, 18, 0, 0],
        cursor: { sync: { key: "days" }, drag: { x: false, y: false }, points: { size: 6 } },
        scales: { x: { time: false, range: () => [0, season / unit[0]] }, y: { range: () => [0, scale.most * 1.05] } },
        axes: [{ ...axis, size: 28, space: 60, values: (_, splits) => splits.map((t) => `${format(t, 0)} ${unit[1]}`) }, { ...axis, size: 30, space: 30 }],
        series: [{}, { label: "need", stroke: css("--green"), fill: css("--green-fill"), width: 1.5, points: { show: false }, value },
          { label: "engines", stroke: css("--blue"), width: 2, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }), value }],
      }, [[], [], []], node);
      const made = { node, plot, scale };
      dayPlots.set(day.number, made);
      return made;
    });
    for (const [number, { node, plot }] of dayPlots) {
      if (last.some((day) => day.number === number)) continue;
      plot.destroy();
      node.remove();
      dayPlots.delete(number);
    }
    last.forEach((day, place) => {
      const { plot, scale } = cells[place];
      scale.most = most;
      const parts = Math.max(day.curve.length, 1);
      const times = day.curve.map((_, part) => (part / parts) * Math.min(day.seconds, season) / unit[0]);
      plot.setData([times, day.curve.map(([need]) => need), day.curve.map(([, replicas]) => replicas)]);
      if (plot.cursor.left < 0 && times.length) plot.setLegend({ idx: times.length - 1 }, false);
    });
    $("day-rows").replaceChildren(...last.map((day) => {
      const isOver = day.seconds >= season * 0.995;
      const row = element("tr", isOver ? "" : "running");
      const cell = (text, className) => row.appendChild(element("td", className, text));
      const [p50, p95, p99] = day.ttft_seconds;
      cell(isOver ? `${day.number}` : `${day.number}, ${format((day.seconds / season) * 100, 0)} % of it`);
      cell(format(day.requests, 0), "number");
      cell(format(day.failed, 0), "number");
      for (const value of [p50, p95, p99]) cell(`${seconds(value)} s`, "number");
      cell(span(day.engine_seconds), "number");
      cell(format(day.times_opt, 2), "number");
      cell(isNumber(day.overflow) ? `${format(day.overflow * 100, 2)} %` : "–", "number");
      return row;
    }));
  };

  const resetDays = () => {
    for (const { node, plot } of dayPlots.values()) { plot.destroy(); node.remove(); }
    dayPlots = new Map();
    const shown = model();
    if (shown) days(shown);
  };

  const engines = (shown) => {
    $("engines").replaceChildren(...shown.engines.map((engine) => {
      const row = element("tr");
      const cell = (text, className) => row.appendChild(element("td", className, text));
      cell(engine.id);
      cell().append(element("span", `chip ${engine.state}`, engine.state));
      cell(span(engine.state_seconds), "number");
      cell(format(engine.in_flight, 0), "number");
      if (engine.metrics === "none") {
        const note = cell("no vLLM metrics: scaled by what the router sees", "dim");
        note.colSpan = 3;
      } else {
        cell(format(engine.running, 0), "number");
        cell(format(engine.waiting, 0), "number");
        const use = cell();
        if (isNumber(engine.kv_cache_usage)) {
          const bar = element("span", "bar");
          const fill = element("i");
          fill.style.width = `${Math.min(100, engine.kv_cache_usage * 100)}%`;
          bar.append(fill);
          use.append(bar, `${format(engine.kv_cache_usage * 100, 0)} %`);
        } else {
          use.textContent = "–";
        }
      }
      cell(format(engine.restarts, 0), "number");
      cell(String(engine.port), "number");
      cell(engine.gpus.join(", ") || "–");
      cell(engine.pid === null ? "–" : String(engine.pid), "number");
      return row;
    }));
  };

  const frame = (shown) => {
    const scaled = state.time_scale !== 1;
    $("subtitle").textContent = `${shown.served_model_name}${scaled ? ` · engines run ${format(state.time_scale, 0)} × faster than life` : ""}`;
    $("ttft-note").textContent = `seconds${scaled ? " of engine time" : ""}, from the router's histogram over the last ${format(state.window_seconds, 0)} s`;
    const select = $("model");
    if (state.models.length > 1 && select.options.length !== state.models.length) {
      select.replaceChildren(...state.models.map((m) => new Option(m.name, m.name)));
      select.hidden = false;
    }
    const programs = state.programs.map((p) => `${p.name} ${p.state === "running" ? `at ${p.url}` : p.state}`).join(" · ");
    $("programs").textContent = `${programs}${programs ? " · " : ""}list ${state.generation}${state.applied_generation === null ? " (router does not answer)" : `, router has ${state.applied_generation}`}`;
    status(state.is_stopping ? "ending" : "live", state.is_stopping ? "draining and ending" : "live");
  };

  const status = (className, text) => {
    $("status").className = `status ${className}`;
    $("status").lastElementChild.textContent = text;
  };

  const take = (answer) => {
    // Another autoscaler under the same address counts its events anew: ask again for all of them.
    if (state && answer.started_ms !== state.started_ms) {
      nextEvent = 0;
      state = null;
      return;
    }
    state = answer;
    for (const [name, fresh] of Object.entries(answer.series)) {
      const kept = rows.get(name) || [];
      kept.push(...fresh);
      rows.set(name, kept.length > KEEP_ROWS ? kept.slice(-KEEP_ROWS) : kept);
      if (fresh.length) lastRow = Math.max(lastRow, fresh[fresh.length - 1][0]);
    }
    events = events.concat(answer.events).slice(-300);
    if (answer.events.length) nextEvent = answer.events[answer.events.length - 1].number + 1;
    const shown = model();
    if (!shown) return;
    frame(shown);
    tiles(shown);
    because(shown);
    days(shown);
    engines(shown);
    if (answer.events.length) happened();
    draw();
  };

  const poll = async () => {
    try {
      const answer = await fetch(`/api/state?after=${lastRow}&events=${nextEvent}`, { signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      take(await answer.json());
    } catch {
      status("lost", "no answer");
    }
    setTimeout(poll, POLL_MS);
  };

  $("ranges").addEventListener("click", ({ target }) => {
    if (!target.dataset.seconds) return;
    shownSeconds = Number(target.dataset.seconds);
    for (const button of $("ranges").children) button.setAttribute("aria-pressed", String(button === target));
    draw();
  });
  $("model").addEventListener("change", ({ target }) => { chosen = target.value; resetDays(); if (state) take({ ...state, series: {}, events: [] }); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
  let resizing = 0;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(build, 120); });
  build();
  poll();
})();
