// The console's first page: follows the manager by server-sent events, shows what it says, sends what a person wants.
//
// The page is built from the status within it, then kept by events. When the connection is lost it says so, keeps what
// was known and disables what would need an answer.

import * as cards from "./cards.js";
import * as monitors from "./monitors.js";
import * as picture from "./picture.js";
import * as words from "./words.js";

/** Older events leave the page; the API has them. */
const EVENTS_SHOWN_MAX = 100;
/** The manager says something at least each 10 s; after two and a half of that the connection is dead. */
const SILENCE_MAX_MS = 25_000;
/** A connection that comes back within this was never worth a word. */
const LOST_AFTER_MS = 700;
const RECONNECT_MS = 2_000;
const TOAST_MS = 6_000;

const byId = (id) => document.getElementById(id);
const frame = byId("picture");
let status = JSON.parse(byId("first-status").textContent);
let lastEvent = 0;
let openMember = null;
let isLost = false;
let lastHeard = Date.now();

// ---- what is shown ----

function show() {
  words.setClock(status.now_ms);
  cards.sample(status);
  render();
}

function render() {
  const { title, text, mood } = words.headline(status);
  byId("headline").textContent = title;
  byId("headline").dataset.mood = mood;
  byId("subline").textContent = text;
  document.title = mood === "calm" ? `${status.cell} · Muster` : `${title} ${status.cell} · Muster`;
  byId("revision").textContent = `configuration ${status.config_revision}, manager generation ${status.generation}`;
  const all = status.clusters.flatMap((cluster) => cluster.members);
  const sum = (list, value) => list.reduce((total, item) => total + value(item), 0);
  byId("total-rate").textContent = words.rate(sum(status.routers, (router) => router.requests_per_second));
  byId("total-flight").textContent = words.count(sum(all, (member) => member.in_flight));
  byId("total-sessions").textContent = words.count(sum(all, (member) => member.sessions));
  byId("total-retried").textContent = words.count(sum(status.routers, (router) => router.totals.retried));
  byId("total-failed").textContent = words.count(sum(status.routers, (router) => router.totals.failed));
  cards.reconcile(byId("routers"), status.routers, (router) => router.router, cards.makeRouter, cards.updateRouter);
  cards.reconcile(byId("nodes"), status.nodes, (node) => node.node, cards.makeNode, cards.updateNode);
  cards.reconcile(byId("clusters"), status.clusters, (cluster) => cluster.cluster, cards.makeCluster, cards.updateCluster);
  monitors.show(byId("monitors"), byId("monitor-rows"), status.monitors, actOnMonitor);
  renderSheet();
  drawSoon();
}

let isDrawn = false;
function drawSoon() {
  if (isDrawn) return;
  isDrawn = true;
  requestAnimationFrame(() => {
    isDrawn = false;
    picture.draw(frame, status);
    if (isLost) picture.freeze(true);
  });
}

function find(key) {
  const [clusterName, memberName] = key.split("/");
  const cluster = status.clusters.find((one) => one.cluster === clusterName);
  const member = cluster?.members.find((one) => one.member === memberName);
  return { cluster, member };
}

function renderSheet() {
  if (!openMember) return;
  const { cluster, member } = find(openMember);
  if (!member) return byId("sheet").close();
  const holder = byId("sheet-card");
  if (!holder.firstElementChild) holder.append(cards.makeMember());
  cards.updateMember(holder.firstElementChild, cluster, member);
}

/** Says aloud, for those who do not look, which members changed their state. */
function announce(before, after) {
  const states = new Map(before.clusters.flatMap((cluster) => cluster.members.map((member) => [`${cluster.cluster}/${member.member}`, member.state])));
  const changes = [];
  for (const cluster of after.clusters) {
    for (const member of cluster.members) {
      const old = states.get(`${cluster.cluster}/${member.member}`);
      if (old === undefined) changes.push(`${member.member} is new and ${member.state}.`);
      else if (old !== member.state) changes.push(`${member.member} is ${member.state}: ${words.sentence(member.reason)}`);
    }
  }
  if (changes.length > 0) byId("announcer").textContent = changes.slice(0, 5).join(" ");
}

function addEvent(event) {
  if (event.number <= lastEvent) return;
  lastEvent = event.number;
  const item = cards.make("li", "event");
  item.dataset.severity = event.severity;
  item.dataset.event = event.kind;
  const time = cards.make("time", "", [words.day(event.at_ms), words.clock(event.at_ms)].join(" ").trim());
  time.dateTime = new Date(event.at_ms).toISOString();
  const symbol = cards.icon({ info: "info", warning: "failed", error: "down" }[event.severity]);
  const severity = event.severity === "info" ? "" : `${words.capital(event.severity)}: `;
  const text = cards.make("span", "event-text");
  const [before, name, after] = words.around(event.text, [event.cluster, event.member].filter(Boolean).join("/"));
  const place = [event.node, event.id && `event ${event.id}`].filter(Boolean).join(", ");
  const source = place ? `${place}: ` : "";
  text.append(cards.make("b", "unseen", severity), source, before, cards.make("b", "event-name", name), after);
  item.append(time, symbol, text);
  byId("no-events").hidden = true;
  byId("events").prepend(item);
  while (byId("events").children.length > EVENTS_SHOWN_MAX) byId("events").lastElementChild.remove();
}

// ---- the connection ----

let source = null;
let lostTimer = null;
let reconnectTimer = null;

function connect() {
  clearTimeout(reconnectTimer);
  source?.close();
  source = new EventSource(`/api/v1/stream${lastEvent ? `?after=${lastEvent}` : ""}`);
  source.addEventListener("status", (message) => {
    heard();
    const next = JSON.parse(message.data);
    // A manager of another version has a page of its own.
    if (next.version !== document.querySelector("meta[name=muster-version]").content) return location.reload();
    announce(status, next);
    status = next;
    show();
  });
  source.addEventListener("event", (message) => {
    heard();
    addEvent(JSON.parse(message.data));
    if (byId("audit-details").open) showAuditSoon();
  });
  source.addEventListener("beat", heard);
  source.addEventListener("error", () => {
    lostTimer ??= setTimeout(lose, LOST_AFTER_MS);
    // The browser tries again by itself unless it was answered with a refusal.
    if (source.readyState === EventSource.CLOSED) refused();
  });
}

async function refused() {
  try {
    const answer = await fetch("/api/v1/status");
    if (answer.status === 401) return location.replace("/login");
  } catch {
    // Not reached: the same as a refusal to us.
  }
  clearTimeout(reconnectTimer);
  reconnectTimer = setTimeout(connect, RECONNECT_MS);
}

function heard() {
  lastHeard = Date.now();
  clearTimeout(lostTimer);
  lostTimer = null;
  setLost(false);
}

function lose() { setLost(true); }

function setLost(lost) {
  const link = byId("link");
  link.dataset.link = lost ? "lost" : "live";
  link.lastElementChild.textContent = lost ? "connection lost" : "live";
  if (lost === isLost) return;
  isLost = lost;
  document.body.classList.toggle("is-lost", lost);
  byId("lost").hidden = !lost;
  byId("lost").textContent = lost ? `Connection lost. Showing what was known at ${words.clock(lastHeard)}; trying again. Routers and members go on without the console.` : "";
  picture.freeze(lost);
  drawSoon();
}

// ---- what a person wants ----

document.addEventListener("click", (click) => {
  const button = click.target.closest("[data-act]");
  if (button) return act(button);
  const tile = click.target.closest(".tile");
  if (tile) {
    openMember = tile.dataset.member;
    byId("sheet-card").replaceChildren();
    renderSheet();
    byId("sheet").showModal();
  }
});
byId("sheet").addEventListener("close", () => { openMember = null; });

async function act(button) {
  if (button.getAttribute("aria-disabled") === "true" || button.getAttribute("aria-busy") === "true") return;
  if (isLost) return toast("There is no connection to the manager now.", true);
  const memberKey = button.closest("[data-member]")?.dataset.member;
  const clusterName = memberKey ? memberKey.split("/")[0] : button.closest("[data-cluster]").dataset.cluster;
  const { cluster, member } = find(memberKey ?? `${clusterName}/`);
  const what = button.dataset.act;
  const question = words.question(what, cluster, member);
  if (question && !(await ask(question, words.capital(what)))) return;
  button.setAttribute("aria-busy", "true");
  const path = member ? `${cluster.cluster}/members/${member.member}` : cluster.cluster;
  try {
    const body = await post(`/api/v1/clusters/${path}/${what}`);
    toast(words.sentence(body.text), false);
  } catch (error) {
    toast(error.message, true);
  }
  button.removeAttribute("aria-busy");
}

async function actOnMonitor(monitor, what) {
  if (isLost) return toast("There is no connection to the manager now.", true);
  try {
    const body = await post(`/api/v1/monitors/${monitor}/${what}`);
    toast(words.sentence(body.text), false);
  } catch (error) {
    toast(error.message, true);
  }
}

function ask({ title, text }, yes) {
  const dialog = byId("ask");
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  byId("ask-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

async function post(path) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { "X-Muster-Key": localStorage.getItem("muster-key") ?? "" } });
  } catch {
    throw new Error("The manager was not reached; nothing may have changed.");
  }
  if (answer.status === 204) return null;
  const body = await answer.json();
  if (answer.status === 401) location.replace("/login");
  if (!answer.ok) throw new Error(`${body.message} (${body.code})`);
  return body;
}

let toastTimer = null;
function toast(text, isError) {
  const box = byId("toast");
  box.textContent = text;
  box.dataset.kind = isError ? "error" : "done";
  box.hidden = false;
  // A modal dialog covers everything else: what is said while it is open is said within it.
  const holder = document.querySelector("dialog[open]") ?? document.body;
  if (box.parentElement !== holder) holder.append(box);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { box.hidden = true; }, TOAST_MS);
}

// ---- who changed what, for those who may know ----

const AUDIT_SHOWN_MAX = 100;
const AUDIT_PAUSE_MS = 1_000;
let auditTimer = null;

/** Events come in bursts; the list is read once after them. */
function showAuditSoon() {
  auditTimer ??= setTimeout(() => {
    auditTimer = null;
    showAudit();
  }, AUDIT_PAUSE_MS);
}

async function showAudit() {
  let entries;
  try {
    const answer = await fetch(`/api/v1/audit?most=${AUDIT_SHOWN_MAX}`);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    entries = await answer.json();
  } catch (error) {
    return toast(`The audit log cannot be read: ${error.message}`, true);
  }
  const rows = entries.reverse().map((entry) => {
    const row = document.createElement("tr");
    row.dataset.result = entry.result;
    const when = [words.day(entry.at_ms), words.clock(entry.at_ms)].join(" ").trim();
    const result = entry.code ? `${entry.result} ${entry.code}` : entry.result;
    const more = entry.left_out > 0 ? `${result}, and ${entry.left_out} before it` : result;
    for (const text of [when, entry.who, entry.act, entry.on, more, `${entry.from} (${entry.way})`]) {
      row.append(cards.make("td", "", text));
    }
    return row;
  });
  byId("audit-rows").replaceChildren(...rows);
}

byId("audit").hidden = document.body.dataset.role !== "admin";
byId("audit-details").addEventListener("toggle", (event) => {
  if (event.target.open) showAudit();
});

byId("logout").addEventListener("click", async () => {
  try {
    await post("/logout");
  } catch (error) {
    return toast(error.message, true);
  }
  localStorage.removeItem("muster-key");
  location.replace("/login");
});

// ---- start ----

new ResizeObserver(drawSoon).observe(frame);
document.fonts?.ready.then(drawSoon);
setInterval(() => {
  // Ages grow by themselves, but nobody knows whether a state still holds that was heard of before the connection broke.
  if (!isLost) render();
  if (Date.now() - lastHeard > SILENCE_MAX_MS) {
    lose();
    connect();
  }
}, 5_000);
// A page that comes back from the browser's memory has an old status and no stream.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
show();
connect();
