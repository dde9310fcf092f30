// Makes and updates the cards of routers, clusters, members and nodes.
//
// Elements are kept by name and only changed where they differ, so that focus, selection and transitions live on.
// Everything a status holds is written as text, never as markup.

import * as words from "./words.js";

/** More members than this and a cluster shows small tiles; each opens its full card. */
export const CARDS_MAX = 12;
const SPARK_SAMPLES = 60;
const SVG = "http://www.w3.org/2000/svg";

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setData(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

/** Brings the children of `parent` in line with `items`: made, updated, put in order, taken away. */
export function reconcile(parent, items, keyOf, create, update) {
  const known = new Map();
  for (const child of parent.children) if (!child.classList.contains("leaving")) known.set(child.dataset.key, child);
  let previous = null;
  for (const item of items) {
    const key = keyOf(item);
    let element = known.get(key);
    known.delete(key);
    if (!element) {
      element = create(item);
      element.dataset.key = key;
      if (parent.dataset.filled) element.classList.add("appearing");
    }
    update(element, item);
    const next = previous ? previous.nextElementSibling : parent.firstElementChild;
    if (next !== element) parent.insertBefore(element, next);
    previous = element;
  }
  parent.dataset.filled = "yes";
  for (const gone of known.values()) leave(gone);
}

function leave(element) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return element.remove();
  element.classList.add("leaving");
  element.inert = true;
  setTimeout(() => element.remove(), 400);
}

function metric(name, label) {
  const box = make("div", "metric");
  box.dataset.metric = name;
  box.append(make("dt", "", label), make("dd", "", "–"));
  return box;
}

function setMetric(card, name, text) {
  setText(card.querySelector(`[data-metric="${name}"] dd`), text);
}

function actButtons() {
  const group = make("div", "acts");
  group.setAttribute("role", "group");
  for (const act of words.ACTS) {
    const button = make("button", "act");
    button.type = "button";
    button.dataset.act = act;
    button.append(icon(act), make("span", "", words.capital(act)));
    group.append(button);
  }
  return group;
}

function updateActs(group, name, whyNot) {
  group.setAttribute("aria-label", `What to do with ${name}`);
  for (const button of group.children) {
    const reason = whyNot(button.dataset.act);
    // Not `disabled`: a disabled button cannot be reached by keyboard to read why.
    const value = reason ? "true" : "false";
    if (button.getAttribute("aria-disabled") !== value) button.setAttribute("aria-disabled", value);
    const label = `${words.capital(button.dataset.act)} ${name}`;
    const title = reason ? `${label}: ${reason}` : label;
    if (button.title !== title) {
      button.title = title;
      button.setAttribute("aria-label", title);
    }
  }
}

function stateBadge() {
  const badge = make("span", "badge");
  badge.append(icon("unknown"), make("span", "badge-word"), make("span", "badge-age"));
  return badge;
}

function updateBadge(badge, state, sinceMs) {
  const use = badge.querySelector("use");
  if (use.getAttribute("href") !== `#icon-${state}`) use.setAttribute("href", `#icon-${state}`);
  setText(badge.querySelector(".badge-word"), words.capital(state));
  setText(badge.querySelector(".badge-age"), `for ${words.duration(words.now() - sinceMs)}`);
}

// ---- members ----

/** Requests per second of each member over the last minute, one sample a second. */
const sparks = new Map();

export function sample(status) {
  const second = Math.floor(status.now_ms / 1_000);
  const seen = new Set();
  for (const cluster of status.clusters) {
    for (const member of cluster.members) {
      const key = `${cluster.cluster}/${member.member}`;
      seen.add(key);
      const spark = sparks.get(key) ?? { second: 0, values: [] };
      if (spark.second !== second) {
        // Nothing is told while nothing changes: the value stood still meanwhile.
        const last = spark.values.at(-1);
        const still = spark.second ? Math.min(second - spark.second - 1, SPARK_SAMPLES) : 0;
        for (let index = 0; index < still; index += 1) spark.values.push(last);
        spark.values.push(member.requests_per_second);
        spark.values.splice(0, spark.values.length - SPARK_SAMPLES);
        spark.second = second;
      }
      sparks.set(key, spark);
    }
  }
  for (const key of sparks.keys()) if (!seen.has(key)) sparks.delete(key);
}

function drawSpark(svg, key) {
  const values = sparks.get(key)?.values ?? [];
  const highest = Math.max(1, ...values);
  const step = 100 / (SPARK_SAMPLES - 1);
  const start = 100 - (values.length - 1) * step;
  const points = values.map((value, index) => `${(start + index * step).toFixed(1)} ${(26 - (value / highest) * 24).toFixed(1)}`);
  const line = values.length > 1 ? `M${points.join("L")}` : "";
  svg.children[0].setAttribute("d", line ? `${line}L100 28L${start.toFixed(1)} 28Z` : "");
  svg.children[1].setAttribute("d", line);
}

function sparkline() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 100 28");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const name of ["spark-area", "spark-line"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    svg.append(path);
  }
  return svg;
}

export function makeMember() {
  const card = make("article", "member");
  const head = make("div", "member-head");
  const title = make("div", "member-title");
  const name = make("div", "member-line");
  name.append(make("h4", "member-name"), stateBadge());
  title.append(name, make("span", "member-place"));
  head.append(title, actButtons());
  const traffic = make("div", "member-traffic");
  const metrics = make("dl", "metrics");
  metrics.append(metric("rate", "Requests/s"), metric("sessions", "Sessions"), metric("flight", "In flight"), metric("latency", "Median · 99%"), metric("weight", "Weight"));
  traffic.append(metrics, sparkline());
  card.append(head, make("p", "member-reason"), traffic);
  return card;
}

export function updateMember(card, cluster, member) {
  const key = `${cluster.cluster}/${member.member}`;
  setData(card, "member", key);
  setData(card, "state", member.state);
  updateBadge(card.querySelector(".badge"), member.state, member.since_ms);
  setText(card.querySelector(".member-name"), member.member);
  const place = [member.address ?? "no address yet", member.node];
  if (member.restarts > 0) place.push(member.restarts === 1 ? "restarted once" : `${member.restarts} restarts`);
  setText(card.querySelector(".member-place"), place.join(" · "));
  setText(card.querySelector(".member-reason"), words.capital(words.sentence(words.standing(member))));
  setMetric(card, "rate", words.rate(member.requests_per_second));
  setMetric(card, "sessions", words.count(member.sessions));
  setMetric(card, "flight", words.count(member.in_flight));
  const [median, high] = [words.latency(member.latency_p50_us), words.latency(member.latency_p99_us)];
  setMetric(card, "latency", median === "–" ? "–" : `${median.replace(/ ms$/, high.endsWith(" ms") ? "" : " ms")} · ${high}`);
  setMetric(card, "weight", String(member.weight));
  updateActs(card.querySelector(".acts"), member.member, (act) => words.senseless(act, member));
  drawSpark(card.querySelector(".spark"), key);
}

function makeTile() {
  const tile = make("button", "tile");
  tile.type = "button";
  tile.append(icon("unknown"), make("span", "tile-name"), make("span", "tile-rate"), make("span", "tile-bar"));
  tile.lastElementChild.append(make("i"));
  return tile;
}

function updateTile(tile, cluster, member, highest) {
  setData(tile, "member", `${cluster.cluster}/${member.member}`);
  setData(tile, "state", member.state);
  const use = tile.querySelector("use");
  if (use.getAttribute("href") !== `#icon-${member.state}`) use.setAttribute("href", `#icon-${member.state}`);
  setText(tile.querySelector(".tile-name"), member.member);
  const isServing = member.state === "up" || member.state === "draining";
  setText(tile.querySelector(".tile-rate"), isServing ? `${words.rate(member.requests_per_second)}/s` : member.state);
  tile.querySelector("i").style.width = `${Math.round((member.requests_per_second / highest) * 100)}%`;
  const label = `${member.member}: ${member.state}, ${words.rate(member.requests_per_second)} requests per second. ${member.reason}`;
  if (tile.title !== label) {
    tile.title = label;
    tile.setAttribute("aria-label", label);
  }
}

// ---- clusters ----

export function makeCluster(cluster) {
  const section = make("section", "cluster");
  section.setAttribute("aria-label", `Cluster ${cluster.cluster}`);
  const hub = make("div", "hub");
  const name = make("div", "hub-name");
  name.append(make("h3", "", cluster.cluster), make("span", "hub-policy"));
  const share = make("p", "hub-share");
  share.append(make("b"), make("span"));
  const operation = make("p", "operation");
  operation.hidden = true;
  operation.append(icon("starting"), make("span"));
  const setback = make("p", "setback");
  setback.hidden = true;
  setback.append(icon("failed"), make("span"));
  const facts = make("dl", "metrics");
  facts.append(metric("rate", "Requests/s"), metric("sessions", "Sessions"));
  hub.append(name, share, make("div", "share-bar"), facts, operation, setback, actButtons());
  section.append(hub, make("div", "members"));
  return section;
}

export function updateCluster(section, cluster) {
  setData(section, "cluster", cluster.cluster);
  const isCompact = cluster.members.length > CARDS_MAX;
  const up = cluster.members.filter((member) => member.state === "up").length;
  setText(section.querySelector(".hub-policy"), words.policy(cluster.policy));
  setText(section.querySelector(".hub-share b"), `${up} of ${cluster.members.length}`);
  setText(section.querySelector(".hub-share span"), " up");
  updateShareBar(section.querySelector(".share-bar"), cluster);
  const sum = (name) => cluster.members.reduce((total, member) => total + member[name], 0);
  setMetric(section.querySelector(".hub"), "rate", words.rate(sum("requests_per_second")));
  setMetric(section.querySelector(".hub"), "sessions", words.count(sum("sessions")));
  const operation = section.querySelector(".operation");
  operation.hidden = !cluster.operation;
  if (cluster.operation) setText(operation.lastElementChild, words.capital(cluster.operation));
  const setback = section.querySelector(".setback");
  setback.hidden = !cluster.setback;
  if (cluster.setback) setText(setback.lastElementChild, words.capital(words.sentence(cluster.setback)));
  updateActs(section.querySelector(".hub .acts"), cluster.cluster, (act) => words.senselessForCluster(act, cluster));

  const list = section.querySelector(".members");
  const mode = isCompact ? "tiles" : "cards";
  if (list.dataset.mode !== mode) {
    list.replaceChildren();
    delete list.dataset.filled;
    list.dataset.mode = mode;
  }
  const highest = Math.max(1, ...cluster.members.map((member) => member.requests_per_second));
  reconcile(list, cluster.members, (member) => member.member,
    () => (isCompact ? makeTile() : makeMember()),
    (element, member) => (isCompact ? updateTile(element, cluster, member, highest) : updateMember(element, cluster, member)));
}

function updateShareBar(bar, cluster) {
  const shares = words.STATES.map((state) => ({ state, number: cluster.members.filter((member) => member.state === state).length })).filter((share) => share.number > 0);
  const text = shares.map((share) => `${share.number} ${share.state}`).join(", ");
  if (bar.title === text) return;
  bar.title = text;
  reconcile(bar, shares, (share) => share.state, () => make("i"), (part, share) => {
    part.dataset.state = share.state;
    part.style.flexGrow = share.number;
  });
}

// ---- routers and nodes ----

export function makeRouter() {
  const card = make("article", "router");
  const head = make("div", "router-head");
  head.append(make("h3"), make("span", "router-state"));
  const facts = make("dl", "metrics");
  facts.append(metric("rate", "Requests/s"), metric("connections", "Connections"));
  const routes = make("details", "routes");
  routes.append(make("summary", "", "Routes"), make("ul", "route-list"));
  card.append(head, make("ul", "addresses"), facts, make("p", "router-note"), routes);
  return card;
}

export function updateRouter(card, router) {
  setData(card, "router", router.router);
  setData(card, "connected", String(router.connected));
  setText(card.querySelector("h3"), router.router);
  setText(card.querySelector(".router-state"), router.connected ? `on ${router.node}` : "not heard");
  reconcile(card.querySelector(".addresses"), router.listening, (address) => address, addressLink, () => {});
  setMetric(card, "rate", words.rate(router.requests_per_second));
  setMetric(card, "connections", words.count(router.connections));
  const { requests, refused } = router.totals;
  let note = `${words.count(requests)} requests so far`;
  if (refused > 0) note += `, ${words.count(refused)} malformed and refused`;
  if (!router.connected) note = router.heard_ms ? `Last heard at ${words.clock(router.heard_ms)}. It goes on with the last view it got.` : "Not heard yet.";
  setText(card.querySelector(".router-note"), note);
  updateRoutes(card.querySelector(".routes"), router.routes ?? []);
}

/** More routes than this are folded away at first. */
const ROUTES_OPEN_MAX = 4;

function updateRoutes(details, routes) {
  if (!details.dataset.seen) {
    details.dataset.seen = "yes";
    details.open = routes.length > 0 && routes.length <= ROUTES_OPEN_MAX;
  }
  details.hidden = routes.length === 0;
  setText(details.querySelector("summary"), routes.length === 1 ? "1 route" : `${routes.length} routes`);
  reconcile(details.querySelector(".route-list"), routes, (route) => route.route, makeRoute, updateRoute);
}

function makeRoute() {
  const item = make("li", "route");
  const line = make("div", "route-line");
  line.append(make("span", "route-name"), make("span", "route-rate"));
  item.append(line, make("ol", "route-levels"), make("p", "route-actions"));
  return item;
}

function updateRoute(item, route) {
  setData(item, "route", route.route);
  setText(item.querySelector(".route-name"), route.route);
  const failed = route.counts.by_class[4];
  const told = [`${words.rate(route.requests_per_second)}/s`];
  if (route.in_flight > 0) told.push(`${words.count(route.in_flight)} in flight`);
  if (failed > 0) told.push(`${words.count(failed)} failed`);
  setText(item.querySelector(".route-rate"), told.join(" · "));
  // One level needs no number; of several the first is used first.
  setData(item, "levels", route.levels.length > 1 ? "several" : "one");
  const levels = route.levels.map((level) => level.join(" + "));
  reconcile(item.querySelector(".route-levels"), levels, (level) => level, () => make("li"), (element, level) => setText(element, level));
  const actions = item.querySelector(".route-actions");
  actions.hidden = route.actions.length === 0;
  setText(actions, route.actions.join("; "));
}

function addressLink(address) {
  const item = make("li");
  const link = make("a", "", address);
  // An address that stands for all of this machine is reached by the name that the console was reached by.
  link.href = `http://${address.replace(/^(0\.0\.0\.0|\[::\])(?=:)/, location.hostname)}/`;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  item.append(link);
  return item;
}

export function makeNode() {
  const item = make("li");
  item.append(icon("unknown"), make("span"));
  return item;
}

export function updateNode(item, node) {
  setData(item, "node", node.node);
  const state = node.left_out ? "down" : node.connected ? "up" : "unknown";
  setData(item, "state", state);
  item.querySelector("use").setAttribute("href", `#icon-${state}`);
  const since = node.left_out ? node.reach_since_ms : node.heard_ms;
  const what = node.left_out ? "not reached" : "not heard";
  const heard = since ? `${what} for ${words.duration(words.now() - since)}` : `${what} yet`;
  setText(item.lastElementChild, state === "up" ? node.node : `${node.node}, ${heard}`);
}
