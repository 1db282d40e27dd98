"use strict";
// What htmx does not do: the live button, the order of the table, menus, dialogs, copying, keys.

const byID = (id) => document.getElementById(id);
const live = byID("live");
const say = (words) => (byID("status").textContent = words);
const time = (date) => date.toLocaleTimeString([], { hourCycle: "h23" });

// What the server sends belongs to the screen of this page.
document.addEventListener("htmx:config:request", (e) => {
  e.detail.ctx.request.headers["X-Screen"] = byID("stream")?.dataset.screen ?? "";
});

// --- live, held, stale

let pulse = { at: 0, interval: 2000 }; // what the last event said
let polled = 0; // when it came, by this clock
let held = null; // when the page was held

// past returns the verdict in the past tense.
function past(verdict) {
  const words = verdict.replace(/needs? you/, "needed you").replace(/keeps? up/, "kept up");
  return words + " at " + time(new Date(pulse.at));
}

function showLive() {
  if (!live || !polled) return;
  const age = Date.now() - polled;
  const stale = !held && age > 3 * pulse.interval + 1000;
  let [state, word, rest] = ["live", "Live", `every ${Math.max(Math.round(pulse.interval / 1000), 1)} s`];
  if (held) [state, word, rest] = ["held", "Held", `${time(held)} · ${Math.round((Date.now() - held) / 1000)} s`];
  if (stale) [state, word, rest] = ["stale", "Stale", Math.round(age / 1000) + " s"];
  live.querySelector("b").textContent = word;
  live.querySelector("small").textContent = rest;
  const main = byID("main");
  main.classList.toggle("stale", stale);
  main.classList.toggle("old", stale && age > 30000);
  if (live.dataset.state === state) return;
  live.dataset.state = state;
  if (stale) say("The figures are stale.");
  if (byID("was")) {
    byID("was").textContent = stale ? past(byID("verdict").textContent) : "";
    byID("since").textContent = stale ? `No response from rdy ui since ${time(new Date(pulse.at))}. Trying again.` : "";
  }
}

// hold stops the page where it is. A page that goes on has missed events, so it is loaded again.
function hold() {
  if (held) return location.reload();
  held = new Date();
  say("The page is held.");
  showLive();
}

// title renews the title and the icon.
function title() {
  document.title = (pulse.need ? `(${pulse.need}) ` : "") + document.body.dataset.title;
  const icon = byID("icon");
  const href = icon.href.replace(/[^/]*$/, pulse.icon);
  if (icon.href !== href) icon.href = href;
  byID("dead-count").textContent = pulse.dead || "";
  byID("dead-count").hidden = !pulse.dead;
}

// Problems that begin or end are announced together, at most each 10 s.
let news = [];
let announced = 0;
function announce() {
  if (!news.length || Date.now() - announced < 10000) return;
  announced = Date.now();
  say(news.slice(0, 5).join(" ") + (news.length > 5 ? ` And ${news.length - 5} more.` : ""));
  news = [];
}

function tint(row) {
  if (!row) return;
  row.classList.remove("changed");
  void row.offsetWidth; // so that the animation begins anew
  row.classList.add("changed");
}

// The stream is another one with each table.
if (byID("stream")) {
  document.addEventListener("polled", (e) => {
    const next = JSON.parse(e.detail.data);
    if (next.at !== pulse.at) polled = Date.now();
    pulse = next;
    for (const id of next.rows ?? []) tint(byID(id));
    news.push(...(next.news ?? []));
    title();
    announce();
    showLive();
    charts.due();
  });
  document.addEventListener("gone", () => location.reload());
  document.addEventListener("htmx:sse:before:message", (e) => {
    if (held) e.preventDefault();
  });
  live.setAttribute("role", "button");
  live.addEventListener("click", (e) => {
    e.preventDefault();
    hold();
  });
  setInterval(showLive, 1000);
  // htmx closes the stream while the tab is in the background. Its title and icon go on.
  setInterval(async () => {
    if (!document.hidden || held) return;
    try {
      const response = await fetch("/pulse");
      if (!response.ok) return;
      const { need, icon, dead } = await response.json();
      Object.assign(pulse, { need, icon, dead });
      title();
    } catch {
      // It is asked again in 30 s.
    }
  }, 30000);
}

// --- the order of the table is renewed only while nobody touches the page

let touched = Date.now();
for (const kind of ["pointermove", "keydown", "scroll", "pointerdown"]) {
  document.addEventListener(kind, () => (touched = Date.now()), { passive: true, capture: true });
}

let table = byID("rows");
function ordered() {
  const order = byID("order");
  if (order) order.textContent = time(new Date());
}
ordered();
document.addEventListener("htmx:after:swap", () => {
  if (byID("rows") === table) return;
  table = byID("rows");
  ordered();
  history.replaceState(null, "", table.dataset.link);
});
setInterval(() => {
  const open = document.querySelector("dialog[open], :popover-open");
  const reading = byID("rows")?.contains(document.activeElement);
  if (held || open || reading || document.hidden || Date.now() - touched < 30000) return;
  touched = Date.now();
  byID("again")?.click();
}, 5000);

// --- ranges of charts

document.addEventListener("click", (e) => {
  const link = e.target.closest("[data-range]");
  if (!link || e.metaKey || e.ctrlKey) return;
  e.preventDefault();
  history.replaceState(null, "", link.href);
  for (const other of document.querySelectorAll("[data-range]")) other.removeAttribute("aria-current");
  link.setAttribute("aria-current", "true");
  charts.load();
});

function range(step) {
  const links = [...document.querySelectorAll("[data-range]")];
  links[links.findIndex((l) => l.hasAttribute("aria-current")) + step]?.click();
}

// --- menus

// menuAt is where the menu opens: below the button or row that asked for it.
let menuAt = null;
document.addEventListener("click", (e) => {
  menuAt = e.target.closest("[data-menu]") ?? menuAt;
  if (e.target.closest("#menu a, #menu button")) byID("menu").hidePopover();
});

function openMenu() {
  const menu = byID("menu");
  const at = menuAt.getBoundingClientRect();
  menu.showPopover();
  menu.style.top = Math.max(8, Math.min(at.bottom + 4, innerHeight - menu.offsetHeight - 8)) + "px";
  menu.style.left = Math.max(8, Math.min(at.right - menu.offsetWidth, innerWidth - menu.offsetWidth - 8)) + "px";
  menu.querySelector("a, button").focus();
}

byID("menu").addEventListener("keydown", (e) => {
  const items = [...byID("menu").querySelectorAll("a, button")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
  if (!step) return;
  e.preventDefault();
  items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
});

// rowMenu asks for the menu of a channel's row.
function rowMenu(link) {
  const [, kind, topic, channel] = new URL(link.href).pathname.split("/").map(decodeURIComponent);
  if (kind !== "topics" || !channel) return;
  menuAt = link;
  htmx.ajax("GET", "/menu?" + new URLSearchParams({ kind: "channel", topic, channel }), { target: "#menu", swap: "innerHTML" });
}

// --- dialogs: nothing is done before the name fits

document.addEventListener("htmx:after:swap", (e) => {
  const target = e.detail?.ctx?.target;
  if (target?.id === "menu" && menuAt) openMenu();
  if (target?.id === "dialog") openDialog(document.querySelector("#dialog dialog:not([open])"));
  if (target?.id === "toast") setTimeout(() => document.querySelectorAll("#toast .done").forEach((t) => t.remove()), 8000);
});

function openDialog(dialog) {
  if (!dialog) return;
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  const form = dialog.querySelector("form");
  const typed = dialog.querySelector("[data-name]");
  const submit = dialog.querySelector("[type=submit]");
  typed?.addEventListener("input", () => (submit.disabled = typed.value !== typed.dataset.name));
  form?.addEventListener(
    "submit",
    (e) => {
      if (typed && typed.value !== typed.dataset.name) {
        e.preventDefault();
        e.stopImmediatePropagation();
        return;
      }
      setTimeout(() => dialog.close(), 0);
    },
    { capture: true },
  );
}

// --- buttons

async function copy(button) {
  let text = button.dataset.copy ?? byID(button.dataset.copyFrom).textContent;
  if (button.dataset.link) text += "\n" + new URL(button.dataset.link, location.href);
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    return say("The browser does not allow copying here.");
  }
  say("Copied.");
  const words = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = words), 1500);
}

async function turnTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  charts.draw();
  await fetch("/theme", { method: "POST", body: new URLSearchParams({ theme: root.dataset.theme }) });
}

document.addEventListener("click", (e) => {
  const button = e.target.closest("button");
  if (!button) return;
  if (button.dataset.copy !== undefined || button.dataset.copyFrom) copy(button);
  if (button.dataset.close !== undefined) button.closest("dialog").close();
  if (button.dataset.dismiss !== undefined) button.closest(".alert").remove();
  if (button.id === "theme") turnTheme();
});

// --- keys

const keysOn = byID("keys-on");
keysOn.checked = localStorage.getItem("keys") !== "off";
keysOn.addEventListener("change", () => localStorage.setItem("keys", keysOn.checked ? "on" : "off"));

let going = 0; // when g was pressed
const pages = { o: "/", n: "/nodes", l: "/lookup", d: "/dead", a: "/log" };

function focus(id) {
  const field = byID(id);
  field?.focus();
  field?.select();
  return Boolean(field);
}

function nextSort() {
  const links = [...document.querySelectorAll("#rows th a")];
  const now = links.findIndex((a) => a.closest("[aria-sort]"));
  links[(now + 1) % links.length]?.click();
}

const keys = {
  "/": () => focus("jump"),
  "f": () => focus("q"),
  "h": () => messages.hold() || (live && hold()),
  "r": () => byID("again")?.click(),
  "s": nextSort,
  "[": () => range(-1),
  "]": () => range(1),
  "j": (rows, at) => rows[Math.min(at + 1, rows.length - 1)]?.focus(),
  "k": (rows, at) => rows[Math.max(at - 1, 0)]?.focus(),
  "x": (rows, at) => rows[at]?.closest("tr").querySelector("[type=checkbox]")?.click(),
  ".": (rows, at) => at >= 0 && rowMenu(rows[at]),
  "g": () => (going = Date.now()),
  "?": () => byID("keys").showModal(),
  "Escape": () => document.querySelector(".crumbs") && history.back(),
};

document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select, dialog, [popover]")) return;
  if (!keysOn.checked && e.key !== "?") return;
  if (Date.now() - going < 1500 && pages[e.key]) return location.assign(pages[e.key]);
  if (!Object.hasOwn(keys, e.key)) return;
  const rows = [...document.querySelectorAll("tbody a.name")];
  e.preventDefault();
  keys[e.key](rows, rows.indexOf(document.activeElement));
});

// The tab for jumping on a phone goes to the filter of the overview.
if (location.hash === "#q") focus("q");
addEventListener("hashchange", () => location.hash === "#q" && focus("q"));

charts.find();
addEventListener("resize", () => charts.draw());
for (const setting of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
  matchMedia(setting).addEventListener("change", () => charts.draw());
}
