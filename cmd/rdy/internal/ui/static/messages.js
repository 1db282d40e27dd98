"use strict";
// Messages: how those that come are followed, and which dead letters are selected.

// --- tail and peek: a stream of the server, which reads for as long as it is open

const messages = {
  stream: null,
  held: false,
  waiting: [], // rows that have come while the page is held or scrolled, the newest first

  // start opens the stream of the section that the server has sent.
  start(section) {
    messages.stop();
    messages.held = false;
    messages.waiting = [];
    const stream = (messages.stream = new EventSource(section.dataset.stream));
    stream.addEventListener("lines", (e) => messages.add(rowsOf(e.data)));
    stream.addEventListener("all", (e) => {
      messages.waiting = [];
      byID("lines").replaceChildren(...rowsOf(e.data));
      messages.show();
    });
    stream.addEventListener("words", (e) => messages.words(e.data));
    stream.addEventListener("without", (e) => (byID("reading-without").textContent = e.data));
    stream.addEventListener("end", (e) => messages.stop(e.data));
    // The channel is gone with the stream, so it is not opened again.
    stream.addEventListener("error", () => messages.stop("The connection to rdy ui was lost. Start again to read on."));
    messages.show();
  },

  // stop closes the stream, upon which the server stops reading. words say why.
  stop(words) {
    if (!messages.stream) return;
    messages.stream.close();
    messages.stream = null;
    messages.show();
    if (words) {
      messages.words(words);
      say(words);
    }
  },

  words(text) {
    byID("reading-words").textContent = text + (messages.stream ? " A copy of the topic; no channel loses a message." : "");
  },

  following: () => !messages.held && byID("messages").getBoundingClientRect().top > -40,

  add(rows) {
    messages.waiting.unshift(...rows);
    messages.waiting.length = Math.min(messages.waiting.length, Number(byID("messages").dataset.kept));
    if (messages.following()) messages.insert();
    messages.show();
  },

  // insert shows what waits, and drops the oldest rows.
  insert() {
    const lines = byID("lines");
    lines.prepend(...messages.waiting);
    messages.waiting = [];
    while (lines.rows.length > Number(byID("messages").dataset.kept)) lines.deleteRow(-1);
  },

  // hold stops following, or goes on. It returns false if there is nothing to hold.
  hold() {
    if (!messages.stream) return false;
    messages.held = !messages.held;
    if (!messages.held) messages.insert();
    messages.show();
    return true;
  },

  show() {
    const running = Boolean(messages.stream);
    for (const id of ["reading-hold", "reading-stop"]) byID(id).hidden = !running;
    byID("reading-start").textContent = byID("messages") ? "Start again" : "Start";
    byID("reading-start").hidden = running;
    byID("reading-hold").setAttribute("aria-pressed", messages.held);
    byID("reading-hold").firstChild.textContent = messages.held ? "Resume " : "Hold ";
    const more = byID("reading-new");
    if (!more) return;
    more.hidden = !messages.waiting.length;
    more.textContent = `${messages.waiting.length} new`;
  },
};

function rowsOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.querySelectorAll("tr")];
}

document.addEventListener("click", (e) => {
  const id = e.target.closest("button")?.id;
  if (id === "reading-hold") messages.hold();
  if (id === "reading-stop") messages.stop("Stopped.");
  if (id !== "reading-new") return;
  messages.held = false;
  scrollTo({ top: 0 });
  messages.insert();
  messages.show();
});

document.addEventListener("scroll", () => {
  if (!messages.stream || !messages.waiting.length || !messages.following()) return;
  messages.insert();
  messages.show();
}, { passive: true });

// A tab that nobody looks at reads nothing.
let away = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(away);
  if (document.hidden) away = setTimeout(() => messages.stop("Stopped while this tab was in the background."), 30000);
});

// --- dead letters: what is selected

function countChosen() {
  const chosen = byID("chosen");
  if (!chosen) return;
  const boxes = [...document.querySelectorAll("#letters tbody [type=checkbox]:not(:disabled)")];
  const n = boxes.filter((box) => box.checked).length;
  chosen.textContent = n ? `${n} selected` : "none selected";
  const all = byID("all-letters");
  if (!all) return;
  all.checked = n > 0 && n === boxes.length;
  all.indeterminate = n > 0 && n < boxes.length;
}

document.addEventListener("change", (e) => {
  if (e.target.id === "all-letters") {
    for (const box of document.querySelectorAll("#letters tbody [type=checkbox]:not(:disabled)")) box.checked = e.target.checked;
  }
  countChosen();
});

// --- what htmx has put into the page

document.addEventListener("htmx:after:swap", (e) => {
  const target = e.detail?.ctx?.target;
  if (target?.id === "reading") {
    if (byID("messages")) messages.start(byID("messages"));
    else messages.show();
  }
  if (target?.id === "letter" || target?.id === "letter-rows") {
    const link = target.id === "letter" ? document.querySelector("#letter [data-link]") : byID("letter-rows");
    if (link) history.replaceState(null, "", link.dataset.link);
    for (const row of document.querySelectorAll("#letters tr")) {
      const open = row.querySelector("a.name")?.getAttribute("href") === location.pathname + location.search;
      row.classList.toggle("open", open);
    }
  }
  // After a replay or a removal the list says which letters are gone.
  if (target?.id === "toast" && byID("letter-rows")) {
    htmx.ajax("GET", byID("letter-rows").dataset.link, { target: "#letter-rows", swap: "outerHTML", values: { part: "rows" } });
  }
  countChosen();
});
