"use strict";
// What htmx does not do: the live button, keys, dialogs, copying, charts.

const live = document.getElementById("live");
const status = document.getElementById("status");
let polled = 0; // when the last event came, by this clock
let interval = 2000;
let held = null; // when the page was held

// The table belongs to the screen of this page.
document.addEventListener("htmx:config:request", (e) => {
  e.detail.ctx.request.headers["X-Screen"] = document.body.dataset.screen;
});

// --- live, held, stale

function showLive() {
  if (!live) return;
  const text = document.getElementById("live-text");
  const seconds = Math.round((Date.now() - polled) / 1000);
  let state = "live";
  let words = "Live every " + Math.round(interval / 1000) + " s";
  if (held) {
    state = "held";
    words = "Held " + held.toLocaleTimeString();
  } else if (!polled) {
    return;
  } else if (Date.now() - polled > 3 * interval + 1000) {
    state = "stale";
    words = "Stale " + seconds + " s";
  }
  if (live.dataset.state !== state && state === "stale") status.textContent = "The figures are stale.";
  document.getElementById("main").classList.toggle("stale", state === "stale");
  live.dataset.state = state;
  text.textContent = words;
}

function hold() {
  held = held ? null : new Date();
  if (!held) location.reload();
  showLive();
}

const stream = document.getElementById("stream");
if (stream) {
  stream.addEventListener("polled", (e) => {
    const [, ms] = e.detail.data.split(" ");
    interval = Number(ms);
    polled = Date.now();
    showLive();
    charts.forEach((c) => c.due());
  });
  stream.addEventListener("gone", () => location.reload());
  stream.addEventListener("htmx:sse:before:message", (e) => {
    if (held) e.preventDefault();
  });
  live.addEventListener("click", hold);
  setInterval(showLive, 1000);
}

// --- the order of the table is renewed only while nobody touches the page

const order = () => document.getElementById("order");
let touched = Date.now();
for (const kind of ["pointermove", "keydown", "scroll", "pointerdown"]) {
  document.addEventListener(kind, () => (touched = Date.now()), { passive: true, capture: true });
}
function ordered() {
  if (order()) order().textContent = new Date().toLocaleTimeString();
}
document.addEventListener("htmx:after:swap", ordered);
ordered();
setInterval(() => {
  const again = document.getElementById("again");
  if (again && !held && !document.hidden && Date.now() - touched > 30000) {
    touched = Date.now();
    again.click();
  }
}, 5000);

// --- keys

document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select, dialog")) return;
  const focus = (id) => {
    const field = document.getElementById(id);
    if (field) {
      e.preventDefault();
      field.focus();
    }
  };
  const rows = [...document.querySelectorAll("tbody a.name")];
  const at = rows.indexOf(document.activeElement);
  switch (e.key) {
    case "/":
      return focus("jump");
    case "f":
      return focus("q");
    case "h":
      return live && hold();
    case "r":
      return document.getElementById("again")?.click();
    case "j":
      return rows[Math.min(at + 1, rows.length - 1)]?.focus();
    case "k":
      return rows[Math.max(at - 1, 0)]?.focus();
    case "Escape":
      return history.length > 1 && document.querySelector(".crumbs") && history.back();
  }
});

// --- dialogs: nothing is done before the name fits

document.addEventListener("htmx:after:swap", () => {
  const dialog = document.querySelector("#dialog dialog:not([open])");
  if (!dialog) return;
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  const typed = dialog.querySelector("[data-name]");
  const submit = dialog.querySelector("[type=submit]");
  typed?.addEventListener("input", () => (submit.disabled = typed.value !== typed.dataset.name));
  dialog.querySelector("form").addEventListener("submit", (e) => {
    if (typed && typed.value !== typed.dataset.name) {
      e.preventDefault();
      e.stopImmediatePropagation();
      return;
    }
    setTimeout(() => dialog.close(), 0);
  });
});

document.addEventListener("click", async (e) => {
  const button = e.target.closest("button");
  if (!button) return;
  if (button.dataset.copy !== undefined) {
    await navigator.clipboard.writeText(button.dataset.copy);
    status.textContent = "Copied.";
    const words = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = words), 1500);
  }
  if (button.dataset.close !== undefined) button.closest("dialog").close();
  if (button.dataset.dismiss !== undefined) button.closest(".alert").remove();
  if (button.id === "theme") {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    await fetch("/theme", { method: "POST", body: new URLSearchParams({ theme: root.dataset.theme }) });
    charts.forEach((c) => c.draw());
  }
});

// --- charts

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

function short(v) {
  if (v >= 1e6) return v / 1e6 + "M";
  return v >= 1000 ? v / 1000 + "k" : String(v);
}

class Chart {
  constructor(box) {
    this.box = box;
    this.last = 0;
    this.load();
  }
  due() {
    // A picture of an hour has no use for each poll.
    if (Date.now() - this.last > 10000) this.load();
  }
  async load() {
    this.last = Date.now();
    const response = await fetch(this.box.dataset.series);
    if (!response.ok) return;
    this.data = await response.json();
    this.draw();
  }
  draw() {
    if (!this.data) return;
    const { times, depth, in: incoming, finished } = this.data;
    const rates = this.box.dataset.kind === "rates";
    const series = rates
      ? [
          {},
          { stroke: token("chart-out"), fill: token("chart-out-fill"), width: 1.5, points: { show: false } },
          { stroke: token("chart-in"), width: 1.5, points: { show: false } },
        ]
      : [{}, { stroke: token("chart-depth"), fill: token("chart-depth-fill"), width: 1.5, points: { show: false } }];
    const axis = { stroke: token("faint"), grid: { stroke: token("line-soft"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    this.plot?.destroy();
    this.plot = new uPlot(
      {
        width: this.box.clientWidth - 16,
        height: this.box.clientHeight - 16,
        series,
        legend: { show: false },
        cursor: { points: { show: false }, drag: { x: false, y: false } },
        scales: { y: { range: (u, min, max) => [0, Math.max(max * 1.1, 10)] } },
        axes: [
          { ...axis, grid: { show: false }, values: [[60, "{HH}:{mm}"]] },
          { ...axis, size: 44, values: (u, ticks) => ticks.map(short) },
        ],
      },
      rates ? [times, finished, incoming] : [times, depth],
      this.box,
    );
  }
}

const charts = [...document.querySelectorAll("[data-series]")].map((box) => new Chart(box));
addEventListener("resize", () => charts.forEach((c) => c.draw()));
