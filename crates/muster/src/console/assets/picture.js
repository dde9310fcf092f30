// Draws the lines between routers, clusters and members, and lets requests flow along them.
//
// A line's width and the speed of its dots follow the requests per second (by their logarithm: ten and ten thousand
// both shall be seen); its colour and pattern follow the state. Positions are read off the cards, so the picture fits
// any layout: side by side where there is room, a tree from top to bottom on a phone.

const SVG = "http://www.w3.org/2000/svg";
/** Distance between two dots. The dash pattern repeats with it, so the animation has no seam. */
const DOT_GAP = 18;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const lines = new Map();

function makeLine(svg) {
  const group = document.createElementNS(SVG, "g");
  const base = document.createElementNS(SVG, "path");
  const dots = document.createElementNS(SVG, "path");
  const mark = document.createElementNS(SVG, "use");
  base.setAttribute("class", "line-base");
  dots.setAttribute("class", "line-dots");
  dots.setAttribute("stroke-dasharray", `0.1 ${DOT_GAP - 0.1}`);
  mark.setAttribute("class", "line-mark");
  mark.setAttribute("width", 16);
  mark.setAttribute("height", 16);
  group.append(base, dots, mark);
  svg.append(group);
  const flow = dots.animate([{ strokeDashoffset: 0 }, { strokeDashoffset: -DOT_GAP }], { duration: 1_000, iterations: Infinity });
  return { group, base, dots, mark, flow };
}

function drawLine(svg, key, wanted) {
  let line = lines.get(key);
  if (!line) {
    line = makeLine(svg);
    lines.set(key, line);
  }
  const { path, state, rate, middle } = wanted;
  const magnitude = Math.log10(1 + rate);
  const width = 2 + Math.min(magnitude * 2.4, 10);
  line.group.setAttribute("data-state", state);
  // Clusters that are only used after others are led to by a thinner line.
  line.group.setAttribute("data-level", wanted.level ?? 0);
  for (const part of [line.base, line.dots]) if (part.getAttribute("d") !== path) part.setAttribute("d", path);
  line.base.style.strokeWidth = `${width.toFixed(1)}px`;
  line.dots.style.strokeWidth = `${Math.min(2.2 + magnitude * 0.7, 4.6).toFixed(1)}px`;
  const isFlowing = rate > 0.05;
  line.dots.style.opacity = isFlowing ? "" : "0";
  // Dots per second, a change of which does not make them jump.
  if (calm.matches || !isFlowing) line.flow.pause();
  else {
    line.flow.updatePlaybackRate(0.5 + magnitude * 0.9);
    if (line.flow.playState !== "running") line.flow.play();
  }
  const isBroken = middle && (state === "down" || state === "failed" || state === "unknown");
  line.mark.style.display = isBroken ? "" : "none";
  if (isBroken) {
    line.mark.setAttribute("href", `#icon-${state}`);
    line.mark.setAttribute("x", middle.x - 8);
    line.mark.setAttribute("y", middle.y - 8);
  }
}

/** Where an element lies within the picture. */
function boxOf(element, frame) {
  const box = element.getBoundingClientRect();
  return {
    left: box.left - frame.left, right: box.right - frame.left, top: box.top - frame.top, bottom: box.bottom - frame.top,
    middle: (box.top + box.bottom) / 2 - frame.top,
  };
}

function curve(from, to) {
  const bend = (to.x - from.x) / 2;
  return {
    path: `M${from.x} ${from.y}C${from.x + bend} ${from.y} ${to.x - bend} ${to.y} ${to.x} ${to.y}`,
    middle: { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 },
  };
}

/** Down from `from`, then round a corner to the right. */
function elbow(from, to) {
  const radius = Math.min(12, to.x - from.x, Math.max(0, to.y - from.y));
  return { path: `M${from.x} ${from.y}V${to.y - radius}Q${from.x} ${to.y} ${from.x + radius} ${to.y}H${to.x}` };
}

function stateOfCluster(cluster) {
  const states = new Set(cluster.members.map((member) => member.state));
  return ["up", "draining", "starting", "failed", "down"].find((state) => states.has(state)) ?? "unknown";
}

/** The best level at which a router's routes use a cluster, counted from 0; null where none does. */
function levelOf(router, cluster) {
  const levels = (router.routes ?? []).map((route) => route.levels.findIndex((level) => level.includes(cluster))).filter((level) => level >= 0);
  return levels.length > 0 ? Math.min(...levels) : null;
}

/** What a router sends to a cluster: of a route to several, as large a part as that cluster has of what they all get. */
function rateBetween(router, cluster, rateOfName) {
  let rate = 0;
  for (const route of router.routes ?? []) {
    const names = [...new Set(route.levels.flat())];
    if (!names.includes(cluster)) continue;
    const all = names.reduce((total, name) => total + rateOfName(name), 0);
    rate += names.length === 1 ? route.requests_per_second : all > 0 ? route.requests_per_second * (rateOfName(cluster) / all) : 0;
  }
  return rate;
}

/** Draws everything for `status`; cards must be in place already. */
export function draw(picture, status) {
  const svg = picture.querySelector("#lines");
  const frame = picture.getBoundingClientRect();
  const isTree = matchMedia("(max-width: 900px)").matches;
  const wanted = new Map();
  const rateOf = (cluster) => cluster.members.reduce((total, member) => total + member.requests_per_second, 0);
  const rates = new Map(status.clusters.map((cluster) => [cluster.cluster, rateOf(cluster)]));
  if (!isTree) for (const router of status.routers) drawClients(wanted, { picture, router, frame });
  for (const cluster of status.clusters) {
    const section = picture.querySelector(`[data-cluster="${CSS.escape(cluster.cluster)}"]`);
    const hub = boxOf(section.querySelector(".hub"), frame);
    for (const router of status.routers) {
      const card = picture.querySelector(`[data-router="${CSS.escape(router.router)}"]`);
      const box = boxOf(card, frame);
      const level = levelOf(router, cluster.cluster);
      if (level === null) continue;
      const rate = rateBetween(router, cluster.cluster, (name) => rates.get(name) ?? 0);
      const state = router.connected ? stateOfCluster(cluster) : "unknown";
      const shape = isTree
        ? elbow({ x: box.left + 9, y: box.bottom }, { x: hub.left, y: hub.top + 26 })
        : curve({ x: box.right, y: box.middle }, { x: hub.left, y: hub.middle });
      wanted.set(`${router.router}>${cluster.cluster}`, { ...shape, middle: null, state, rate, level });
    }
    drawMembers(wanted, { section, hub, cluster, frame, isTree });
  }
  svg.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  for (const [key, line] of lines) {
    if (wanted.has(key)) continue;
    line.flow.cancel();
    line.group.remove();
    lines.delete(key);
  }
  for (const [key, line] of wanted) drawLine(svg, key, line);
}

/** Clients are outside of the picture: what they send comes in from the window's edge. */
function drawClients(wanted, { picture, router, frame }) {
  const box = boxOf(picture.querySelector(`[data-router="${CSS.escape(router.router)}"]`), frame);
  const path = `M${-frame.left} ${box.middle}H${box.left}`;
  wanted.set(`>${router.router}`, { path, middle: null, state: router.connected ? "up" : "unknown", rate: router.requests_per_second });
}

function drawMembers(wanted, { section, hub, cluster, frame, isTree }) {
  const list = section.querySelector(".members");
  const rates = cluster.members.map((member) => member.requests_per_second);
  if (list.dataset.mode === "tiles") {
    const box = boxOf(list, frame);
    const shape = isTree
      ? { path: `M${hub.left + 9} ${hub.bottom}V${box.top}` }
      : curve({ x: hub.right, y: hub.middle }, { x: box.left, y: hub.middle });
    const rate = rates.reduce((total, one) => total + one, 0);
    wanted.set(`${cluster.cluster}>*`, { ...shape, middle: null, state: stateOfCluster(cluster), rate });
    return;
  }
  // Last first, so that in a tree the lines that end early lie on top.
  for (const member of [...cluster.members].reverse()) {
    const key = `${cluster.cluster}/${member.member}`;
    const card = list.querySelector(`[data-member="${CSS.escape(key)}"]`);
    const box = boxOf(card, frame);
    const shape = isTree
      ? elbow({ x: hub.left + 9, y: hub.bottom }, { x: box.left, y: box.top + 26 })
      : curve({ x: hub.right, y: hub.middle }, { x: box.left, y: box.middle });
    wanted.set(key, { ...shape, state: member.state, rate: member.requests_per_second });
  }
}

/** Freezes or resumes the flow, as the connection to the manager is lost or found. */
export function freeze(isFrozen) {
  for (const { flow } of lines.values()) if (isFrozen) flow.pause();
}
