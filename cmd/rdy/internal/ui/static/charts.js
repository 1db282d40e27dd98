"use strict";
// Charts: one request for all charts of a page that show the same series.

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const renewEvery = 5000; // ms
const renewLong = 60000; // ms, where a point is for minutes
const leastSpan = 240; // s that a chart shows at least, however short the history is: its four parts are minutes

function short(v) {
  if (v >= 1e6) return +(v / 1e6).toFixed(1) + "M";
  return v >= 1000 ? +(v / 1000).toFixed(1) + "k" : String(+v.toFixed(1));
}

function rate(v) {
  if (v == null) return "–";
  return v < 10 ? String(+v.toFixed(1)) : Math.round(v).toLocaleString("en");
}

// clock returns a time of the day, with the day if span is longer than a day.
function clock(seconds, span) {
  const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (span > 90000) Object.assign(options, { weekday: "short", day: "numeric" });
  return new Date(seconds * 1000).toLocaleString([], options);
}

// What a kind of chart shows: the name in the legend, the key in the data, colours.
const kinds = {
  depth: [{ name: "waiting", key: "depth", line: "chart-depth", fill: "chart-depth-fill", unit: "" }],
  rates: [
    { name: "finished", key: "finished", line: "chart-out", fill: "chart-out-fill", unit: " /s" },
    { name: "in", key: "in", line: "chart-in", unit: " /s" },
  ],
};

// worstFirst returns marks by what they mean; of those that mean the same, the oldest is the first.
function worstFirst(marks) {
  const levels = ["critical", "warning", "notice", "paused", ""];
  return [...marks].sort((a, b) => levels.indexOf(a.mark) - levels.indexOf(b.mark));
}

class Chart {
  constructor(box) {
    this.box = box;
    this.kind = kinds[box.dataset.kind];
    this.header = box.parentElement.querySelector("header");
    this.title = this.header.querySelector("h2").textContent;
    this.source = this.box.parentElement.querySelector(".source");
    this.box.setAttribute("role", "img");
    this.table = this.header.querySelector(".as-table");
    this.table.addEventListener("click", () => {
      const on = this.table.getAttribute("aria-pressed") !== "true";
      this.table.setAttribute("aria-pressed", String(on));
      this.show(this.data);
    });
  }

  // show draws data, unless a hand is on the chart.
  show(data) {
    if (!data) return;
    this.data = data;
    this.span = data.to - data.from;
    this.source.textContent = data.source;
    this.source.classList.toggle("warning", data.failed);
    this.source.hidden = !data.source;
    this.legend(data.times.length - 1);
    this.summarize();
    if (this.table.getAttribute("aria-pressed") === "true") return this.tabulate();
    if (this.plot && this.plot.cursor.idx != null && this.box.matches(":hover")) return;
    this.draw();
  }

  legend(i) {
    for (const s of this.kind) {
      const b = this.header.querySelector(".legend ." + (s.key === "depth" ? "depth" : s.key) + " b");
      b.textContent = this.figure(s, i) + (this.data[s.key][i] == null ? "" : s.unit);
    }
  }

  // figure returns that of a point, with "≥" where an nsqd is missing from it.
  figure(s, i) {
    const v = this.data[s.key][i];
    return (v != null && this.data.lower.includes(i) ? "≥ " : "") + rate(v);
  }

  // figures returns the last, the least, the mean and the most of a series.
  figures(s) {
    const known = this.data[s.key].filter((v) => v != null);
    if (!known.length) return ["–", "–", "–", "–"];
    const last = this.figure(s, this.data[s.key].findLastIndex((v) => v != null));
    const mean = known.reduce((a, b) => a + b, 0) / known.length;
    return [last, ...[known.reduce((a, b) => Math.min(a, b)), mean, known.reduce((a, b) => Math.max(a, b))].map(rate)];
  }

  summarize() {
    const parts = this.kind.map((s) => {
      const [last, min, mean, max] = this.figures(s);
      return `${s.name}: last ${last}, min ${min}, mean ${mean}, max ${max}`;
    });
    this.box.setAttribute("aria-label", `${this.title} since ${this.clock(this.data.from)}. ${parts.join(". ")}. ${this.gaps()}`);
  }

  clock(at) {
    return clock(at, this.span);
  }

  // concerns reports whether a gap is one of this chart: some are of rates alone.
  concerns(gap) {
    return !gap.rates || this.box.dataset.kind === "rates";
  }

  // gaps returns in words of which times figures are missing.
  gaps() {
    return this.data.gaps.filter((g) => this.concerns(g)).map((g) => `${this.clock(g.from)} to ${this.clock(g.to)}: ${g.text}.`).join(" ");
  }

  tabulate() {
    this.plot?.destroy();
    this.plot = null;
    this.box.removeAttribute("role");
    const table = document.createElement("table");
    const row = (parent, kind, texts) => {
      const tr = parent.insertRow();
      texts.forEach((text, i) => {
        const cell = document.createElement(kind);
        cell.textContent = text;
        if (kind === "th") cell.scope = "col";
        if (i) cell.className = "n";
        tr.append(cell);
      });
    };
    row(table.createTHead(), "th", ["Series", "Last", "Min", "Mean", "Max"]);
    const body = table.createTBody();
    for (const s of this.kind) row(body, "td", [s.name + s.unit, ...this.figures(s)]);
    for (const g of this.data.gaps.filter((g) => this.concerns(g))) row(body, "td", [g.text, this.clock(g.from), "to", this.clock(g.to), ""]);
    for (const m of this.data.marks) row(body, "td", [m.text + (m.about ? " of " + m.about : ""), this.clock(m.at), "", "", ""]);
    this.box.replaceChildren(table);
  }

  draw() {
    const forced = matchMedia("(forced-colors: active)").matches;
    const { to, times } = this.data;
    const from = Math.max(this.data.from, Math.min(times[0] ?? to, to - leastSpan));
    const series = this.kind.map((s) => ({
      stroke: token(s.line),
      fill: forced || !s.fill ? undefined : token(s.fill),
      dash: forced && s.key === "in" ? [6, 4] : undefined,
      width: 1.5,
      points: { show: false },
    }));
    const axis = { stroke: token("faint"), ticks: { show: false }, font: "11px system-ui, sans-serif" };
    this.plot?.destroy();
    this.box.replaceChildren();
    this.box.setAttribute("role", "img");
    this.plot = new uPlot(
      {
        width: Math.max(this.box.clientWidth - 16, 40),
        height: Math.max(this.box.clientHeight - 16, 40),
        padding: [20, 20, 0, 0], // the labels of marks are above the lines
        series: [{}, ...series],
        legend: { show: false },
        cursor: { sync: { key: "page" }, points: { show: false }, drag: { x: false, y: false }, y: false },
        scales: { x: { range: [from, to] }, y: { range: (u, min, max) => [0, Math.max(max * 1.1, 10)] } },
        axes: [
          { ...axis, size: 24, gap: 6, grid: { show: false }, splits: () => [0, 1, 2, 3, 4].map((i) => from + (i * (to - from)) / 4), values: (u, at) => at.map((s) => this.clock(s)) },
          { ...axis, size: 44, grid: { stroke: token("line-soft"), width: 1 }, space: 36, values: (u, ticks) => ticks.map(short) },
        ],
        hooks: {
          setCursor: [(u) => this.legend(u.cursor.idx ?? times.length - 1)],
          draw: [(u) => this.hatch(u), (u) => this.mark(u)],
        },
      },
      [times, ...this.kind.map((s) => this.data[s.key])],
      this.box,
    );
  }

  // hatch draws lines over the times of which not everything is known.
  hatch(u) {
    const { ctx, bbox } = u;
    const step = 7 * devicePixelRatio;
    const x = (at) => Math.min(Math.max(u.valToPos(at, "x", true), bbox.left), bbox.left + bbox.width);
    ctx.save();
    ctx.strokeStyle = token("control");
    ctx.globalAlpha = 0.55;
    ctx.lineWidth = devicePixelRatio;
    for (const g of this.data.gaps.filter((g) => this.concerns(g))) {
      const [from, to] = [x(g.from), x(g.to)];
      if (to - from < 1) continue;
      ctx.save();
      ctx.beginPath();
      ctx.rect(from, bbox.top, to - from, bbox.height);
      ctx.clip();
      ctx.beginPath();
      // The lines begin at the left of the chart, so that those of gaps beside each other meet.
      const first = bbox.left + Math.floor((from - bbox.height - bbox.left) / step) * step;
      for (let at = first; at < to; at += step) {
        ctx.moveTo(at, bbox.top + bbox.height);
        ctx.lineTo(at + bbox.height, bbox.top);
      }
      ctx.stroke();
      ctx.restore();
    }
    ctx.restore();
  }

  // mark draws when problems began and ended, and what viewers have done.
  mark(u) {
    const { ctx, bbox } = u;
    const scale = devicePixelRatio;
    ctx.save();
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.font = 10.5 * scale + "px system-ui, sans-serif";
    ctx.lineWidth = scale;
    ctx.setLineDash([3 * scale, 3 * scale]);
    const marks = worstFirst(this.data.marks);
    const lines = []; // where there is one
    for (const m of marks) {
      const x = u.valToPos(m.at, "x", true);
      if (lines.some((other) => Math.abs(other - x) < 3 * scale)) continue; // dashes of two colours would mix
      lines.push(x);
      ctx.strokeStyle = token(m.mark || "muted");
      ctx.beginPath();
      ctx.moveTo(x, bbox.top - 14 * scale);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    const labels = []; // the left and right ends of those that are drawn: others have no room there
    for (const m of marks) {
      const x = u.valToPos(m.at, "x", true);
      const label = m.text + " " + this.clock(m.at);
      const width = ctx.measureText(label).width;
      const left = x - width - 4 * scale > bbox.left ? x - width - 4 * scale : x + 4 * scale;
      if (labels.some(([from, to]) => left < to + 8 * scale && left + width > from - 8 * scale)) continue;
      ctx.fillStyle = token(m.mark || "muted");
      ctx.fillText(label, left, bbox.top - 5 * scale);
      labels.push([left, left + width]);
    }
    ctx.restore();
  }
}

const charts = {
  all: [],
  last: 0,

  // find makes charts of the boxes on the page.
  find() {
    this.all = [...document.querySelectorAll("[data-series]")].map((box) => new Chart(box));
    if (this.all.length) this.load();
  },

  // due renews the charts after a poll.
  due() {
    const every = ["24h", "7d"].includes(this.range()) ? renewLong : renewEvery;
    if (this.all.length && Date.now() - this.last > every) this.load();
  },

  range() {
    return new URLSearchParams(location.search).get("range") ?? "1h";
  },

  async load() {
    this.last = Date.now();
    const range = this.range();
    const url = new URL(this.all[0].box.dataset.series, location.href);
    url.searchParams.set("range", range);
    try {
      const response = await fetch(url);
      if (!response.ok) return;
      const data = await response.json();
      this.all.forEach((c) => c.show(data));
    } catch {
      // The live button says that the server does not respond.
    }
  },

  draw() {
    this.all.forEach((c) => c.show(c.data));
  },
};
