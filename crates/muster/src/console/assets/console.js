// The console's first page: follows the manager by server-sent events, shows what it says, sends what a person wants.
//
// The page is built from the status within it, then kept by events. When the connection is lost it says so, keeps what
// was known and disables what would need an answer.

import * as alerts from "./alerts.js";
import * as cards from "./cards.js";
import * as groups from "./groups.js";
import * as menu from "./menu.js";
import * as picture from "./picture.js";
import { makeTable, updateTable } from "./tables.js";
import { ask, get, post, setLost as noteLost, toast, wish } from "./talk.js";
import * as words from "./words.js";

/** The manager says something at least each 10 s; after two and a half of that the connection is dead. */
const SILENCE_MAX_MS = 25_000;
/** A connection that comes back within this was never worth a word. */
const LOST_AFTER_MS = 700;
const RECONNECT_MS = 2_000;

const byId = (id) => document.getElementById(id);
const frame = byId("picture");
let status = JSON.parse(byId("first-status").textContent);
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
  groups.show(status);
  alerts.know(status.nodes);
  // A cell that only has failover groups has nothing to picture.
  const isPictured = status.routers.length > 0 || status.clusters.length > 0 || status.groups.length === 0;
  frame.hidden = !isPictured;
  const skip = document.querySelector(".skip");
  skip.setAttribute("href", isPictured ? "#picture" : "#failover");
  skip.textContent = isPictured ? "Skip to the picture" : "Skip to the groups";
  document.querySelector(".totals").hidden = !isPictured;
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
  for (const group of after.groups) {
    const old = before.groups.find((one) => one.group === group.group);
    if (!old || old.state === group.state) continue;
    const where = group.node ? ` on ${group.node}` : "";
    changes.push(`Group ${group.group} is ${group.state}${where}: ${words.sentence(group.reason)}`);
  }
  if (changes.length > 0) byId("announcer").textContent = changes.slice(0, 5).join(" ");
}

// ---- the connection ----

let source = null;
let lostTimer = null;
let reconnectTimer = null;

function connect() {
  clearTimeout(reconnectTimer);
  source?.close();
  source = new EventSource(`/api/v1/stream${alerts.newest() ? `?after=${alerts.newest()}` : ""}`);
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
    alerts.add(JSON.parse(message.data));
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
  noteLost(lost);
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
  const { cluster, member } = placeOf(button);
  button.setAttribute("aria-busy", "true");
  await actOn(cluster, member, button.dataset.act);
  button.removeAttribute("aria-busy");
}

/** The member, or the cluster, that an element belongs to. */
function placeOf(element) {
  const memberKey = element.closest("[data-member]")?.dataset.member;
  return find(memberKey ?? `${element.closest("[data-cluster]")?.dataset.cluster ?? ""}/`);
}

async function actOn(cluster, member, what) {
  const question = words.question(what, cluster, member);
  if (question && !(await ask(question, words.capital(what)))) return;
  const path = member ? `${cluster.cluster}/members/${member.member}` : cluster.cluster;
  await wish(`/api/v1/clusters/${path}/${what}`);
}

// The same acts as the buttons of cards, and the only ones of tiles.
menu.attach(frame, (target) => {
  const { cluster, member } = placeOf(target);
  if (!cluster || words.forbidden()) return null;
  const whyNot = (what) => (member ? words.senseless(what, member) : words.senselessForCluster(what, cluster));
  const items = words.ACTS.map((what) => ({ label: words.capital(what), icon: what, why: whyNot(what), act: () => actOn(cluster, member, what) }));
  const element = target.closest("a, button") ?? frame;
  return { element, title: member ? `Member ${member.member}` : `Cluster ${cluster.cluster}`, items };
});

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

const AUDIT = [
  { head: "When", text: (entry) => [words.day(entry.at_ms), words.clock(entry.at_ms)].join(" ").trim() },
  { head: "Who", text: (entry) => entry.who },
  { head: "What", text: (entry) => entry.act },
  { head: "On", text: (entry) => entry.on },
  { head: "Result", kind: "result", text: resultOf },
  { head: "From", text: (entry) => `${entry.from} (${entry.way})` },
];
const auditTable = makeTable("Logins and changes, the newest first", AUDIT);
auditTable.querySelector("tbody").id = "audit-rows";
byId("audit-table").append(auditTable);

function resultOf(entry) {
  const result = entry.code ? `${entry.result} ${entry.code}` : entry.result;
  return entry.left_out > 0 ? `${result}, and ${entry.left_out} before it` : result;
}

async function showAudit() {
  let entries;
  try {
    entries = await get(`/api/v1/audit?most=${AUDIT_SHOWN_MAX}`);
  } catch (error) {
    return toast(`The audit log cannot be read: ${error.message}`, true);
  }
  const numbered = entries.map((entry, index) => ({ ...entry, key: `${entry.at_ms} ${entry.who} ${entry.act} ${entry.on} ${index}` }));
  updateTable(auditTable, numbered.reverse(), (entry) => entry.key, (row, entry) => { row.dataset.result = entry.result; });
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
start();

/** Alerts from before this page, then everything as it happens. */
async function start() {
  try {
    const before = await get(`/api/v1/events?most=${alerts.ALERTS_MAX}`);
    before.forEach(alerts.add);
  } catch {
    // The stream brings the newest of them.
  }
  connect();
}
