"use strict";
// Draws the data of one experiment: everything shown is in #data.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  const fixed = (value, digits) => (isNumber(value) ? value.toFixed(digits) : "–");
  const percent = (share) => {
    if (!isNumber(share)) return "–";
    const value = share * 100, rest = Math.min(Math.abs(value), Math.abs(100 - value));
    return value.toFixed(rest >= 10 ? 1 : rest >= 0.1 ? 2 : 3);
  };
  const range = (pair, show) => (pair ? `${show(pair[0])}–${show(pair[1])}` : "–");
  const element = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const svg = (tag, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const DAY = 86400;
  const when = (seconds) => `d${Math.floor(seconds / DAY) + 1} ${String(Math.floor((seconds % DAY) / 3600)).padStart(2, "0")}:${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")}`;
  // Far apart in hue, so that many lines stay apart; ours keeps its blue.
  const color = (index) => (data.runs[index].is_own ? css("--blue") : `hsl(${(index * 137.5 + 20) % 360} 62% ${matchMedia("(prefers-color-scheme: dark)").matches ? 66 : 42}%)`);

  // Ours first, else the cheapest on target that does not know the future.
  const worth = (run) => (run.ready.length ? 0 : 8) + (run.is_own ? 0 : 4) + (run.is_clairvoyant ? 2 : 0) + (run.is_on_target ? 0 : 1);
  let shown = data.runs.map((run, index) => ({ run, index })).sort((a, b) => worth(a.run) - worth(b.run) || a.run.times_opt - b.run.times_opt)[0]?.index ?? 0;
  let plots = [];

  const select = (index) => { shown = index; draw(); };

  const table = () => {
    $("rows").replaceChildren(...data.runs.map((run, index) => {
      const row = element("tr", run.is_own ? "own" : "");
      row.setAttribute("aria-selected", String(index === shown));
      const cell = (text, className) => row.append(element("td", className, text));
      cell(run.policy + (run.is_clairvoyant ? " *" : ""));
      cell(run.level);
      cell(run.queue);
      cell(fixed(run.times_opt, 2), "number");
      cell(range(run.times_opt_interval, (v) => fixed(v, 2)), "number");
      cell(fixed(run.matched_times_opt, 2), "number");
      cell(percent(run.overflow), run.level === "fluid" && !run.is_on_target ? "number missed" : "number");
      cell(range(run.overflow_interval, percent), "number");
      cell(percent(run.attainment), run.level === "events" && !run.is_on_target ? "number missed" : "number");
      cell(percent(run.attainment_worst_hour), "number");
      cell(fixed(run.mean_replicas, 2), "number");
      cell(`${fixed(run.ttft_p95_seconds, 2)} s`, "number");
      cell(percent(run.wasted_share), "number");
      cell(fixed(run.reversals_per_day, 0), "number");
      cell(run.setting);
      row.addEventListener("click", () => select(index));
      return row;
    }));
  };

  const axis = () => ({ stroke: css("--dim"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" });

  const plot = (id, series, values, times, unit, least) => {
    const node = $(id);
    node.replaceChildren();
    if (!times.length) { node.append(element("p", "dim", "no data for this run")); return; }
    const show = (_, v) => fixed(v, 2);
    plots.push(new uPlot({
      width: Math.max(280, node.clientWidth), height: 240, padding: [8, 26, 0, 0],
      cursor: { sync: { key: id === "plot-days" ? "days" : "time" }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(least, (high || 0) * 1.06)] } },
      axes: [
        { ...axis(), space: 90, values: (_, at) => at.map((t) => (id === "plot-days" ? `day ${t}` : when(t))), incrs: id === "plot-days" ? [1, 2, 5, 10, 50] : [600, 3600, 3 * 3600, 6 * 3600, 12 * 3600, DAY, 2 * DAY, 4 * DAY, 7 * DAY, 28 * DAY] },
        { ...axis(), size: 56, label: unit, labelSize: 18, labelGap: 0, labelFont: "12px system-ui, sans-serif" },
      ],
      series: [{ label: "at", value: (_, t) => (!isNumber(t) ? "–" : id === "plot-days" ? `day ${t}` : when(t)) }, ...series.map((s) => ({ value: show, width: 1.6, points: { show: false }, ...s }))],
    }, [times, ...values], node));
  };

  const frontier = () => {
    const runs = data.runs.map((run, index) => ({ run, index }));
    const points = ({ run }) => (run.frontier.length > 1 ? run.frontier : [[run.level === "events" ? 1 - run.attainment : run.overflow, run.times_opt]]);
    const all = runs.flatMap(points).concat(data.runs.map((run) => [run.overflow, run.times_opt])).filter(([, cost]) => isNumber(cost));
    if (!all.length) { $("frontier").replaceChildren(element("p", "dim", "nothing to show")); return; }
    const width = 640, height = 360, left = 44, bottom = 34, least = 1e-4;
    const costs = all.map(([, cost]) => cost).sort((a, b) => a - b);
    // A few settings cost a hundred times the optimum: they would flatten the rest, so what is above is not drawn.
    const most = Math.min(costs[costs.length - 1], Math.max(3, costs[Math.floor(costs.length * 0.75)])) * 1.05;
    const x = (miss) => left + (Math.log10(Math.max(miss, least)) + 4) / 4 * (width - left - 12);
    const y = (cost) => height - bottom - Math.min(cost, most) / most * (height - bottom - 12);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "cost over miss" });
    for (const [miss, label] of [[1e-4, "≤ .01 %"], [1e-3, ".1 %"], [1e-2, "1 %"], [1e-1, "10 %"], [1, "100 %"]]) {
      picture.append(svg("line", { class: "axis", x1: x(miss), x2: x(miss), y1: 12, y2: height - bottom }), svg("text", { x: x(miss), y: height - bottom + 15, "text-anchor": miss < 1 ? "middle" : "end" }, label));
    }
    for (let cost = 0; cost <= most; cost += most > 6 ? 2 : most > 3 ? 1 : 0.5) {
      picture.append(svg("line", { class: "axis", x1: left, x2: width - 12, y1: y(cost), y2: y(cost) }), svg("text", { x: left - 6, y: y(cost) + 4, "text-anchor": "end" }, String(cost)));
    }
    picture.append(svg("text", { x: width - 12, y: height - 4, "text-anchor": "end" }, "missed"), svg("text", { x: 4, y: 10 }, "× OPT"));
    picture.append(svg("line", { x1: x(1 - data.target), x2: x(1 - data.target), y1: 12, y2: height - bottom, stroke: css("--red"), "stroke-dasharray": "4 4" }));
    for (const entry of runs) {
      const paint = color(entry.index), strong = entry.index === shown;
      const sorted = points(entry).filter(([, cost]) => isNumber(cost)).filter(([, cost]) => cost <= most).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      const hull = [];
      for (const point of sorted) {
        if (hull.length && point[1] >= hull[hull.length - 1][1]) continue;
        while (hull.length > 1) {
          const [a, b] = hull.slice(-2);
          if ((b[1] - a[1]) * (point[0] - a[0]) < (point[1] - a[1]) * (b[0] - a[0])) break;
          hull.pop();
        }
        hull.push(point);
      }
      for (const [miss, cost] of sorted) picture.append(svg("circle", { cx: x(miss), cy: y(cost), r: entry.run.is_own || sorted.length === 1 ? 5 : 2, fill: paint, opacity: strong || entry.run.is_own ? 1 : 0.35 }));
      if (hull.length > 1) picture.append(svg("polyline", { points: hull.map(([miss, cost]) => `${x(miss)},${y(cost)}`).join(" "), fill: "none", stroke: paint, "stroke-width": strong ? 2.6 : 1.1 }));
    }
    const legend = element("div", "legend");
    for (const entry of runs) {
      const button = element("button");
      const dot = element("i");
      dot.style.background = color(entry.index);
      button.append(dot, entry.run.name);
      button.addEventListener("click", () => select(entry.index));
      legend.append(button);
    }
    $("frontier").replaceChildren(picture, legend);
  };

  const days = (run) => {
    const perDay = DAY / data.step_seconds;
    const count = Math.ceil(data.demand.length / perDay - 0.01);
    const most = Math.max(1, ...data.demand, ...run.ready) * 1.03;
    const scored = Math.round(data.scored_from_seconds / DAY);
    const panels = [];
    for (let day = 0; day < count; day += 1) {
      const from = Math.round(day * perDay), to = Math.min(data.demand.length, Math.round((day + 1) * perDay));
      const x = (i) => ((i - from) / perDay * 200).toFixed(1), y = (v) => (80 - v / most * 78).toFixed(1);
      const picture = svg("svg", { viewBox: "0 0 200 80", preserveAspectRatio: "none", height: 80, role: "img", "aria-label": `day ${day + 1}` });
      let need = `M0,80`, ready = "";
      for (let i = from; i < to; i += 1) {
        need += `L${x(i)},${y(data.demand[i])}`;
        if (run.ready.length) ready += `${ready ? "L" : "M"}${x(i)},${y(run.ready[i])}`;
      }
      picture.append(svg("path", { class: "need", d: `${need}L${x(to - 1)},80Z` }), svg("path", { class: "ready", d: ready || "M0,80" }));
      const panel = element("div");
      const figures = run.days[day - scored];
      panel.append(element("span", "", `day ${day + 1} `), element("span", "dim", figures ? `${fixed(figures[0], 2)} × OPT, ${percent(figures[1])} % missed` : day < scored ? "not scored" : ""), picture);
      panels.push(panel);
    }
    $("days").replaceChildren(...panels);
  };

  const draw = () => {
    const run = data.runs[shown];
    if (!run) return;
    for (const plot of plots) plot.destroy();
    plots = [];
    table();
    $("run").value = String(shown);
    $("setting").textContent = `${run.tuned === "defaults" ? "as shipped" : run.tuned}: ${run.setting}`;
    const times = data.demand.map((_, index) => index * data.step_seconds);
    const steps = uPlot.paths.stepped({ align: 1 });
    plot("plot-replicas", [
      { label: "need", stroke: css("--grey"), fill: css("--need-fill") },
      { label: "optimum", stroke: css("--green"), paths: steps, dash: [4, 3], width: 1.2 },
      { label: "billed", stroke: css("--orange"), paths: steps, width: 1.2 },
      { label: "Ready", stroke: css("--blue"), paths: steps },
    ], [data.demand, data.optimum, run.billed, run.ready], run.ready.length ? times : [], "replicas", 2);
    plot("plot-wait", [
      { label: "wait", stroke: css("--blue"), fill: css("--blue-fill") },
      { label: "objective", stroke: css("--red"), dash: [6, 5], width: 1.2 },
    ], [run.wait, times.map(() => data.ttft_objective_seconds)], run.wait.length ? times : [], "seconds", data.ttft_objective_seconds * 1.5);
    const withDays = data.runs.map((r, index) => ({ r, index })).filter(({ r }) => r.days.length && (r.is_own || r === run || data.runs.length <= 8));
    const length = Math.max(0, ...withDays.map(({ r }) => r.days.length));
    const first = Math.round(data.scored_from_seconds / DAY) + 1;
    plot("plot-days", withDays.map(({ r, index }) => ({ label: r.name, stroke: color(index), width: r === run ? 2.6 : 1.2, points: { show: true, size: 5 } })),
      withDays.map(({ r }) => Array.from({ length }, (_, day) => (r.days[day] ? r.days[day][0] : null))),
      Array.from({ length }, (_, day) => day + first), "× OPT", 1);
    frontier();
    $("why").replaceChildren(...(run.why.length ? run.why : ["Only runs at level fluid keep what this needs."]).map((sentence) => element("li", "", sentence)));
    days(run);
  };

  $("heading").textContent = data.heading;
  $("notes").replaceChildren(...data.notes.map((note) => element("li", "", note)));
  $("run").replaceChildren(...data.runs.map((run, index) => new Option(run.name, String(index))));
  $("run").addEventListener("change", ({ target }) => select(Number(target.value)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let resizing = 0;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(draw, 150); });
  draw();
})();
