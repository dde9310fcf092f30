// The alert view: what happened, the newest first; filtered by text, server and severity. Bounded.

import { icon, make } from "./cards.js";
import { makeRow } from "./tables.js";
import * as words from "./words.js";

/** Older alerts leave the page; the API has them. */
export const ALERTS_MAX = 300;
const ICONS = { info: "info", warning: "failed", error: "down" };
const SEVERITIES = ["info", "warning", "error"];

const byId = (id) => document.getElementById(id);
let alerts = [];
let wanted = { text: "", server: "", least: 0 };

const COLUMNS = [
  { head: "Time", kind: "when" },
  { head: "Severity", kind: "severity" },
  { head: "Server", kind: "server" },
  { head: "Event", kind: "event-id" },
  { head: "Text", kind: "event-text" },
];

export function newest() { return alerts.at(-1)?.number ?? 0; }

export function add(event) {
  if (event.number <= newest()) return;
  alerts.push(event);
  if (alerts.length > ALERTS_MAX) alerts = alerts.slice(-ALERTS_MAX);
  byId("alert-filter").hidden = false;
  if (fits(event)) byId("events").prepend(makeAlert(event));
  while (byId("events").children.length > ALERTS_MAX) byId("events").lastElementChild.remove();
  tellCount();
}

/** The servers that can be chosen. */
export function know(nodes) {
  const select = byId("alert-server");
  const names = nodes.map((node) => node.node);
  const shown = [...select.options].slice(1).map((option) => option.value);
  if (names.join(" ") === shown.join(" ")) return;
  const options = names.map((name) => Object.assign(make("option", "", name), { value: name }));
  select.replaceChildren(select.options[0], ...options);
  select.value = names.includes(wanted.server) ? wanted.server : "";
}

/** An event belongs to a server if it says so, or names it. */
function isOf(event, server) {
  return event.node === server || (!event.node && words.around(event.text, server)[0] !== "" );
}

function module(event) { return event.id ? `${event.kind} ${event.id}` : event.kind; }

function fits(event) {
  if (SEVERITIES.indexOf(event.severity) < wanted.least) return false;
  if (wanted.server && !isOf(event, wanted.server)) return false;
  const all = [event.text, event.node, module(event), event.cluster, event.member].join(" ").toLowerCase();
  return wanted.text.split(/\s+/).every((word) => all.includes(word));
}

function makeAlert(event) {
  const row = makeRow(COLUMNS);
  row.classList.add("event");
  row.dataset.severity = event.severity;
  row.dataset.event = event.kind;
  const [when, severity, server, id, text] = row.children;
  const time = make("time", "", [words.day(event.at_ms), words.clock(event.at_ms)].join(" ").trim());
  time.dateTime = new Date(event.at_ms).toISOString();
  when.append(time);
  severity.append(icon(ICONS[event.severity]), make("span", "", words.capital(event.severity)));
  server.textContent = event.node ?? "–";
  id.textContent = module(event);
  const [before, name, after] = words.around(event.text, [event.cluster, event.member].filter(Boolean).join("/"));
  text.append(before, make("b", "event-name", name), after);
  return row;
}

function tellCount() {
  const shown = byId("events").children.length;
  byId("no-events").hidden = shown > 0;
  byId("no-events").textContent = alerts.length === 0
    ? "Nothing yet. Changes of state, operations and configuration show up here as they happen."
    : "Nothing of what happened fits these filters.";
  byId("alert-count").textContent = shown === alerts.length ? `${shown} alerts` : `${shown} of ${alerts.length} alerts`;
  byId("alert-box").hidden = shown === 0;
}

function filter() {
  wanted = {
    text: byId("alert-search").value.trim().toLowerCase(),
    server: byId("alert-server").value,
    least: SEVERITIES.indexOf(byId("alert-severity").value),
  };
  byId("events").replaceChildren(...alerts.filter(fits).reverse().map(makeAlert));
  tellCount();
  byId("announcer").textContent = byId("alert-count").textContent;
}

for (const id of ["alert-search", "alert-server", "alert-severity"]) byId(id).addEventListener("input", filter);
const line = make("tr");
for (const column of COLUMNS) {
  const cell = make("th", column.kind, column.head);
  cell.scope = "col";
  line.append(cell);
}
byId("alert-head").append(line);
tellCount();
