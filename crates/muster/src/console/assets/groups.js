// Servers, failover groups and monitors: the tree, and beside it tables of what is selected in it.
//
// Everything is kept by the status that the stream brings; the stages of moves are asked for when they have changed and
// somebody looks at them. Not here: what can be done (see acts.js), how a timeline looks (see timeline.js).

import * as acts from "./acts.js";
import { make, setData, setText } from "./cards.js";
import * as lamps from "./lamps.js";
import * as menu from "./menu.js";
import { makeTable, updateTable } from "./tables.js";
import { get } from "./talk.js";
import * as timeline from "./timeline.js";
import { Tree } from "./tree.js";
import * as words from "./words.js";

/** Pause after moves could not be had. */
const ASK_AGAIN_MS = 2_000;

const byId = (id) => document.getElementById(id);
let status = null;
let selected = null;
/** Of the group that is looked at: its moves, and which state of them that is. */
let moves = { group: null, mark: null, list: [], shown: null, isAsking: false };

const tree = new Tree(byId("tree"), (key) => {
  selected = key;
  render();
  // Where the pane lies below the tree it may be out of sight.
  const pane = byId("pane");
  if (pane.getBoundingClientRect().top > innerHeight - 120) pane.scrollIntoView({ block: "start" });
});

export function show(next) {
  status = next;
  byId("failover").hidden = status.groups.length === 0 && status.monitors.length === 0;
  if (byId("failover").hidden) return;
  render();
}

function render() {
  const items = treeItems();
  if (!items.some((item) => item.key === selected)) selected = status.groups.length > 0 ? "groups" : "monitors";
  tree.show(items, selected);
  renderPane();
}

// ---- the tree ----

function treeItems() {
  const servers = status.nodes.map((node) => ({ key: `server/${node.node}`, level: 2, name: node.node, lamp: lamps.ofServer(node), hasMenu: acts.ofServer(node).length > 0 }));
  const groups = status.groups.flatMap((group) => [
    { key: `group/${group.group}`, level: 2, name: group.group, lamp: lamps.ofGroup(group), note: group.node ? `on ${group.node}` : "", hasMenu: true },
    ...group.resources.map((resource) => ({ key: `resource/${group.group}/${resource.name}`, level: 3, name: resource.name, lamp: lamps.ofResource(resource) })),
  ]);
  const monitors = [...byMonitor()].flatMap(([name, all]) => [
    { key: `monitor/${name}`, level: 2, name, lamp: lamps.worst(all.map(lamps.ofMonitor)), isFolded: true, hasMenu: acts.ofMonitor(name, all).length > 0 },
    ...all.map((monitor) => ({ key: `probe/${name}/${monitor.node}`, level: 3, name: `on ${monitor.node}`, lamp: lamps.ofMonitor(monitor) })),
  ]);
  const branch = (key, name, below) => {
    if (below.length === 0) return [];
    const count = below.filter((item) => item.level === 2);
    return [{ key, level: 1, name, lamp: lamps.worst(count.map((item) => item.lamp)), note: String(count.length) }, ...below];
  };
  return [...branch("servers", "Servers", servers), ...branch("groups", "Failover groups", groups), ...branch("monitors", "Monitors", monitors)];
}

function byMonitor() {
  const all = new Map();
  for (const monitor of status.monitors) all.set(monitor.monitor, [...(all.get(monitor.monitor) ?? []), monitor]);
  return all;
}

// ---- tables ----

const state = (of) => ({
  head: "State", kind: "state-cell",
  make: (cell) => cell.append(lamps.makeLamp()),
  update: (cell, item) => lamps.updateLamp(cell.firstElementChild, of(item)),
});
const more = (label) => ({
  head: "", kind: "acts-cell",
  make: (cell) => cell.append(menu.makeButton("")),
  update: (cell, item) => {
    const { text, isThere } = label(item);
    cell.firstElementChild.hidden = !isThere;
    cell.firstElementChild.setAttribute("aria-label", text);
  },
});
const since = (item) => `${words.duration(words.now() - item.since_ms)}`;

const GROUPS = [
  { head: "Group", kind: "name", text: (group) => group.group },
  state(lamps.ofGroup),
  { head: "Where", text: (group) => group.node ?? "–" },
  { head: "For", kind: "number", text: since },
  { head: "Why", kind: "wide", text: (group) => words.opening(group.reason, namesOf(group)) },
  { head: "Last move", kind: "last-move", text: (group) => lastMove(group.last_move) },
  more((group) => ({ text: `What to do with group ${group.group}`, isThere: true })),
];
const SERVERS = [
  { head: "Server", kind: "name", text: (node) => node.node },
  state(lamps.ofServer),
  { head: "Runs", text: (node) => runs(node.node) },
  { head: "Address", text: (node) => node.address ?? "–" },
  { head: "Roles", text: (node) => (node.roles ?? []).join(", ") || "–" },
  { head: "Why", kind: "wide", text: serverReason },
  more((node) => ({ text: `What to do with server ${node.node}`, isThere: acts.ofServer(node).length > 0 })),
];
const MONITORS = [
  { head: "Monitor", kind: "name", text: (monitor) => monitor.monitor },
  state(lamps.ofMonitor),
  { head: "Server", text: (monitor) => monitor.node },
  { head: "For", kind: "number", text: since },
  { head: "Asks", text: (monitor) => `${monitor.kind} ${monitor.target}` },
  { head: "Answer", kind: "number", text: (monitor) => (monitor.took_ms === null ? "–" : words.latency(monitor.took_ms * 1_000)) },
  { head: "Why", kind: "wide", text: (monitor) => words.capital(words.sentence(monitor.reason)) },
  more((monitor) => ({ text: `What to do with monitor ${monitor.monitor}`, isThere: acts.ofMonitor(monitor.monitor, [monitor]).length > 0 })),
];
const RESOURCES = [
  { head: "Resource", kind: "name", text: (resource) => resource.name },
  state(lamps.ofResource),
];
const POLICY = [
  { head: "Node", kind: "name", text: (why) => why.node },
  state((why) => why.lamp),
  { head: "Why", kind: "wide", text: (why) => words.capital(words.sentence(why.why)) },
];
const MOVES = [
  { head: "Began", text: (move) => [words.day(move.began_ms), words.clock(move.began_ms)].join(" ").trim() },
  { head: "What", text: timeline.route },
  { head: "Took", kind: "number", text: timeline.took },
  { head: "End", text: (move) => words.capital(timeline.outcome(move).word) },
  { head: "", kind: "acts-cell", make: (cell) => {
    const button = make("button", "plain small", "Show");
    button.type = "button";
    button.dataset.move = "";
    cell.append(button);
  }, update: (cell, move) => {
    setData(cell.firstElementChild, "move", String(move.number));
    cell.firstElementChild.setAttribute("aria-pressed", String(move.number === moves.shown));
    cell.firstElementChild.setAttribute("aria-label", `Show the timeline of ${timeline.route(move)}`);
  } },
];

function lastMove(move) {
  if (!move) return "–";
  const ago = words.duration(words.now() - (move.ended_ms ?? move.began_ms));
  return move.ended_ms === null ? `${timeline.route(move)}, ${timeline.took(move)}` : `${timeline.route(move)}, ${timeline.took(move)}, ${ago} ago`;
}

function runs(node) {
  const there = status.groups.filter((group) => group.node === node).map((group) => group.group);
  return there.join(", ") || "–";
}

function serverReason(node) {
  const parts = [];
  if (node.drained) parts.push("It is drained");
  if (node.maintenance) parts.push("It is in maintenance");
  const state = lamps.serverState(node);
  const from = node.left_out || node.reach === "unreachable" ? node.reach_since_ms : node.heard_ms;
  const age = from ? ` for ${words.duration(words.now() - from)}` : "";
  if (state === "lost") parts.push(`${node.reach === "unreachable" ? "Its heartbeats do not come" : "Its agent is not heard"}${age}`);
  if (state === "caution") parts.push("Its heartbeats come one way only, or not to all managers");
  if (state === "unknown") parts.push("It has not been heard yet");
  if (node.heartbeat?.lease === "withheld") parts.push("Its lease is withheld: it may run nothing that needs one");
  if (node.refused) parts.push(`Another machine claims to be it: ${node.refused.reason}`);
  return parts.length > 0 ? words.sentence(parts.join(". ")) : "Its agent answers.";
}

/** Names that a reason may begin with. */
function namesOf(group) { return [group.group, ...group.nodes, ...group.resources.map((resource) => resource.name)]; }

const dressGroup = (row, group) => { setData(row, "group", group.group); setData(row, "state", group.state); };
const dressMonitor = (row, monitor) => { setData(row, "monitor", monitor.monitor); setData(row, "state", monitor.state); row.classList.add("monitor"); };
const groupTable = (box, groups) => updateTable(box, groups, (group) => group.group, dressGroup);
const serverTable = (box, nodes) => updateTable(box, nodes, (node) => node.node, (row, node) => setData(row, "server", node.node));
const monitorTable = (box, all) => updateTable(box, all, (one) => `${one.monitor} ${one.node}`, dressMonitor);

// ---- the pane beside the tree ----

/** Each kind of pane: how it is made once, and kept. The parts are found by the names of their holders. */
const PANES = {
  servers: { build: (pane) => pane.append(part("servers", makeTable("Servers", SERVERS))), update: (pane) => serverTable(tableOf(pane, "servers"), status.nodes) },
  groups: { build: (pane) => pane.append(part("groups", makeTable("Failover groups", GROUPS))), update: (pane) => groupTable(tableOf(pane, "groups"), status.groups) },
  monitors: { build: (pane) => pane.append(part("monitors", makeTable("Monitors", MONITORS))), update: (pane) => monitorTable(tableOf(pane, "monitors"), status.monitors) },
  server: { build: buildServer, update: updateServer },
  group: { build: buildGroup, update: updateGroup },
  monitor: { build: buildMonitor, update: updateMonitor },
};
const TITLES = { servers: "Servers", groups: "Failover groups", monitors: "Monitors" };

function part(name, content, title) {
  const box = make("section", "part");
  box.dataset.part = name;
  if (title) box.append(make("h4", "part-title", title));
  box.append(content);
  return box;
}

function tableOf(pane, name) { return pane.querySelector(`[data-part="${name}"] .table-box`); }

function renderPane() {
  const [branch, name] = selected.split("/");
  const kind = { resource: "group", probe: "monitor" }[branch] ?? branch;
  const pane = byId("pane");
  const mark = name ? `${kind}/${name}` : kind;
  if (pane.dataset.shows !== mark) {
    pane.dataset.shows = mark;
    const head = make("div", "pane-head");
    const title = make("h3", "pane-title", name ?? TITLES[kind]);
    title.id = "pane-title";
    head.append(title);
    pane.replaceChildren(head);
    PANES[kind].build(pane, head);
  }
  PANES[kind].update(pane, name);
}

function addHead(head, label) {
  head.prepend(lamps.makeLamp());
  const button = menu.makeButton(label);
  button.classList.add("with-word");
  button.append(make("span", "", "Actions"));
  head.append(button);
}

function buildServer(pane, head) {
  addHead(head, "What to do with this server");
  pane.append(make("p", "pane-reason"), part("groups", makeTable("Groups of this server", GROUPS), "Groups that run here or may"), part("monitors", makeTable("Monitors of this server", MONITORS), "Monitors"));
}

function updateServer(pane, name) {
  const node = status.nodes.find((one) => one.node === name);
  setData(pane, "server", name);
  lamps.updateLamp(pane.querySelector(".pane-head .lamp"), lamps.ofServer(node));
  pane.querySelector(".pane-head .more").hidden = acts.ofServer(node).length === 0;
  setText(pane.querySelector(".pane-reason"), serverReason(node));
  const groups = status.groups.filter((group) => group.nodes.includes(name));
  const monitors = status.monitors.filter((monitor) => monitor.node === name);
  groupTable(tableOf(pane, "groups"), groups);
  monitorTable(tableOf(pane, "monitors"), monitors);
  pane.querySelector("[data-part=groups]").hidden = groups.length === 0;
  pane.querySelector("[data-part=monitors]").hidden = monitors.length === 0;
}

function buildMonitor(pane, head) {
  addHead(head, "What to do with this monitor");
  pane.append(part("monitors", makeTable("This monitor on each server", MONITORS)));
}

function updateMonitor(pane, name) {
  const all = status.monitors.filter((monitor) => monitor.monitor === name);
  lamps.updateLamp(pane.querySelector(".pane-head .lamp"), lamps.worst(all.map(lamps.ofMonitor)));
  pane.querySelector(".pane-head .more").hidden = acts.ofMonitor(name, all).length === 0;
  monitorTable(tableOf(pane, "monitors"), all);
}

function buildGroup(pane, head) {
  addHead(head, "What to do with this group");
  const facts = make("dl", "facts");
  for (const [key, label] of [["where", "Where"], ["since", "For"], ["epoch", "Epoch"]]) {
    const box = make("div");
    box.append(make("dt", "", label), Object.assign(make("dd"), { className: `fact-${key}` }));
    facts.append(box);
  }
  const pair = make("div", "pair");
  pair.append(part("resources", makeTable("Resources", RESOURCES), "Resources, in the order of their start"), part("policy", makeTable("Where it may run", POLICY), "Where it may run, the preferred first"));
  const story = part("timeline", timeline.makeTimeline(), "");
  story.prepend(make("h4", "part-title"));
  pane.append(make("p", "pane-reason"), facts, pair, story, part("moves", makeTable("Moves", MOVES), "What it went through"));
}

function updateGroup(pane, name) {
  const group = status.groups.find((one) => one.group === name);
  lamps.updateLamp(pane.querySelector(".pane-head .lamp"), lamps.ofGroup(group));
  setText(pane.querySelector(".pane-reason"), words.opening(group.reason, namesOf(group)));
  setText(pane.querySelector(".fact-where"), group.node ?? "no node has it");
  setText(pane.querySelector(".fact-since"), since(group));
  setText(pane.querySelector(".fact-epoch"), String(group.epoch));
  const [, , resource] = selected.split("/");
  updateTable(tableOf(pane, "resources"), group.resources, (one) => one.name, (row, one) => {
    setData(row, "resource", one.name);
    setData(row, "marked", String(one.name === resource));
  });
  const able = { true: { colour: "green", shape: "up", word: "Able" }, false: { colour: "red", shape: "down", word: "Not able" } };
  const policy = group.why.map((why) => ({ ...why, lamp: able[why.is_able] }));
  updateTable(tableOf(pane, "policy"), policy, (why) => why.node, (row, why) => setData(row, "able", String(why.is_able)));
  askForMoves(group);
  renderMoves(pane, name);
}

// ---- moves ----

function markOf(group) { return group.last_move ? `${group.last_move.number} ${group.last_move.stages} ${group.last_move.outcome}` : "none"; }

/** Once for each change that somebody looks at; changes that come meanwhile are asked for afterwards. */
async function askForMoves(group) {
  const name = group.group;
  if (moves.group !== name) moves = { group: name, mark: null, list: [], shown: null, isAsking: false };
  const mine = moves;
  const mark = `${status.generation} ${markOf(group)}`;
  if (mine.isAsking || mine.mark === mark) return;
  mine.isAsking = true;
  let list;
  try {
    list = group.last_move ? await get(`/api/v1/groups/${encodeURIComponent(name)}/moves`) : [];
  } catch {
    // A later status asks again.
    setTimeout(() => { mine.isAsking = false; }, ASK_AGAIN_MS);
    return;
  }
  mine.isAsking = false;
  const wasNewest = mine.shown === null || mine.shown === mine.list[0]?.number;
  mine.list = list;
  mine.mark = mark;
  if (wasNewest || !list.some((move) => move.number === mine.shown)) mine.shown = list[0]?.number ?? null;
  if (mine === moves) render();
}

function renderMoves(pane, name) {
  const list = moves.group === name ? moves.list : [];
  const shown = list.find((move) => move.number === moves.shown);
  const story = pane.querySelector("[data-part=timeline]");
  story.hidden = !shown;
  pane.querySelector("[data-part=moves]").hidden = list.length === 0;
  updateTable(tableOf(pane, "moves"), list, (move) => String(move.number), (row, move) => {
    setData(row, "outcome", move.outcome);
    setData(row, "marked", String(move.number === moves.shown));
  });
  if (!shown) return;
  setText(story.querySelector(".part-title"), `${timeline.route(shown)}: ${timeline.took(shown)}`);
  setData(story, "outcome", shown.outcome);
  timeline.updateTimeline(story.querySelector(".timeline"), shown);
}

byId("pane").addEventListener("click", (event) => {
  const button = event.target.closest("[data-move]");
  if (!button?.matches("button")) return;
  moves.shown = Number(button.dataset.move);
  render();
});

// ---- menus ----

/** What an element in the tree or the pane stands for. */
function thingAt(target) {
  const row = target.closest("[role=treeitem], tr[data-group], tr[data-server], tr[data-monitor], .pane-head");
  if (!row) return null;
  const { group, server, monitor } = row.dataset;
  const [kind, name] = row.dataset.item?.split("/") ?? (row.matches(".pane-head") ? byId("pane").dataset.shows.split("/") : group ? ["group", group] : server ? ["server", server] : ["monitor", monitor]);
  return { element: row.matches("[role=treeitem]") ? row : row.querySelector(".more") ?? row, kind, name };
}

function menuOf(target) {
  const thing = thingAt(target);
  if (!thing?.name) return null;
  const { element, kind, name } = thing;
  if (kind === "group") {
    const group = status.groups.find((one) => one.group === name);
    const look = { label: "Timeline", icon: "clock", act: () => lookAt(`group/${name}`) };
    const items = acts.ofGroup(group, status);
    return { element, title: `Group ${name}`, items: items.length > 0 ? [...items, null, look] : [look] };
  }
  if (kind === "server") return { element, title: `Server ${name}`, items: acts.ofServer(status.nodes.find((one) => one.node === name)) };
  if (kind === "monitor" || kind === "probe") return { element, title: `Monitor ${name}`, items: acts.ofMonitor(name, status.monitors.filter((one) => one.monitor === name)) };
  return null;
}

function lookAt(key) {
  selected = key;
  render();
  byId("pane").querySelector("[data-part=timeline]:not([hidden]), .pane-title").scrollIntoView({ block: "nearest" });
}

menu.attach(byId("failover"), menuOf);
