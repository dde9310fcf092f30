// What a person can do with groups, servers and monitors: which of it makes sense now, and the dialog that shows what
// would happen before it is done. The manager decides; all reasons here only say so beforehand.

import { make } from "./cards.js";
import { ask, post, wish } from "./talk.js";
import * as words from "./words.js";

const byId = (id) => document.getElementById(id);
/** How long a drill lasts that is begun here. */
const DRILL_MS = 60_000;
const RUNNING = ["online", "starting", "stopping", "waiting"];

/** A viewer sees none of it. */
function mayAct() { return words.forbidden() === null; }

export function ofGroup(group, status) {
  if (!mayAct()) return [];
  const isHeld = group.node !== null;
  const runs = isHeld && RUNNING.includes(group.state);
  const frozen = group.is_frozen ? "It is frozen: thaw it first." : null;
  const first = group.nodes[0];
  const there = status.nodes.find((node) => node.node === group.node);
  const off = !isHeld ? "No node has it." : there?.connected ? `The agent of ${group.node} answers, so it is not off.` : null;
  const base = groupAt(group);
  const plan = (act, label, more = {}) => () => open({ base, act, label, title: `${label} group ${group.group}`, group, ...more });
  return [
    { label: "Start…", icon: "start", why: frozen ?? (group.state === "online" ? `It runs on ${group.node} already.` : null), act: plan("start", "Start", { hasNodes: !isHeld }) },
    { label: "Stop…", icon: "stop", why: group.state === "offline" && !isHeld ? "It is stopped already." : null, act: plan("stop", "Stop") },
    { label: "Move…", icon: "move", why: frozen ?? (runs ? null : "It does not run: start it instead."), act: plan("move", "Move", { hasNodes: true }) },
    { label: "Fail back…", icon: "back", why: frozen ?? (!runs ? "It does not run: start it instead." : group.node === first ? `It is on ${first} already, the first of its policy.` : null), act: plan("failback", "Fail back") },
    null,
    group.is_frozen
      ? { label: "Thaw", icon: "sun", act: () => wish(`${base}/thaw`) }
      : { label: "Freeze", icon: "freeze", act: () => wish(`${base}/freeze`) },
    null,
    { label: "Confirm that its node is off…", icon: "failed", isDanger: true, why: off, act: plan("confirm-off", `${group.node} is off`, { title: `Is ${group.node} really off?`, typed: group.node }) },
  ];
}

export function ofServer(node) {
  // A manager that does not say so cannot drain.
  if (!mayAct() || node.drained === undefined) return [];
  const base = `/api/v1/nodes/${encodeURIComponent(node.node)}`;
  const plan = (act, label, title, more = {}) => () => open({ base, act, label, title, ...more });
  const away = node.connected ? null : "Its agent does not answer, so nobody there can be told.";
  const named = { typed: node.node, key: "confirm" };
  return [
    node.drained
      ? { label: "Undrain", icon: "start", act: () => wish(`${base}/undrain`) }
      : { label: "Drain…", icon: "drain", act: plan("drain", "Drain", `Drain server ${node.node}`) },
    node.maintenance
      ? { label: "End maintenance", icon: "sun", act: () => wish(`${base}/maintenance-off`) }
      : { label: "Maintenance…", icon: "pause", act: plan("maintenance-on", "Begin maintenance", `Maintenance of server ${node.node}`) },
    null,
    { label: "Reboot…", icon: "restart", isDanger: true, why: away, act: plan("reboot", "Reboot", `Reboot server ${node.node}?`, named) },
    { label: "Shut down…", icon: "off", isDanger: true, why: away, act: plan("shutdown", "Shut down", `Shut server ${node.node} down?`, named) },
    ...(node.lost_with_many
      ? [null, { label: "Confirm that it is lost", icon: "failed", isDanger: true, act: () => wish(`${base}/confirm-lost`) }]
      : []),
  ];
}

export function ofMonitor(name, all) {
  if (!mayAct()) return [];
  const isHeld = all.every((monitor) => monitor.state === "paused" || monitor.drill_ends_ms !== null);
  const to = (act) => `/api/v1/monitors/${name}/${act}`;
  return [
    isHeld
      ? { label: "Resume", icon: "start", act: () => wish(to("resume")) }
      : { label: "Pause", icon: "pause", act: () => wish(to("pause")) },
    null,
    { label: "Let it fail as a drill…", icon: "failed", isDanger: true, why: isHeld ? "Resume it first." : null, act: () => drill(name, to("fail")) },
  ];
}

async function drill(name, target) {
  const seconds = DRILL_MS / 1_000;
  const text = `For ${seconds} s it counts as failed, and all follows that would follow if it had. “Resume” ends that earlier.`;
  if (await ask({ title: `Let monitor ${name} fail?`, text }, "Let it fail")) await wish(`${target}?for_ms=${DRILL_MS}`);
}

const groupAt = (group) => `/api/v1/groups/${encodeURIComponent(group.group)}`;

function path({ base, act, key }, node, isDry) {
  const query = new URLSearchParams();
  if (isDry) query.set("dry_run", "true");
  if (node) query.set(key, node);
  const asked = query.size > 0 ? `?${query}` : "";
  return `${base}/${act}${asked}`;
}

// ---- the dialog ----

let wanted = null;
/** Answers that come late are of another choice. */
let tries = 0;

const WARNINGS = {
  drain: "Its groups go to other nodes one after the other, its members take no new conversations, and nothing is placed there until it is undrained.",
  "maintenance-on": "Its monitors pause, and nothing that fails there, or is lost with it, moves by itself until maintenance is over.",
  reboot: "Its groups end in their order, and go to other servers where they can. Then the machine is rebooted, with its members and routers: drain it before if they are in use.",
  shutdown: "Its groups end in their order, and go to other servers where they can. Then the machine is shut down, with its members and routers: drain it before if they are in use. Somebody has to switch it on again.",
  stop: "It stays stopped until somebody starts it.",
  "confirm-off": "Only a person can know this. If the node is not off and runs the group yet, the group will run twice, and its data may be lost. Look at the machine itself.",
};

/** `typed` is to be typed before it is done; `key` is what the call has it as. */
function open({ base, act, label, title, group = null, hasNodes = false, typed = null, key = "node" }) {
  wanted = { base, act, group, typed, key };
  byId("plan-title").textContent = title;
  byId("plan-text").textContent = WARNINGS[act] ?? "";
  byId("plan-text").hidden = !WARNINGS[act];
  byId("plan").dataset.plan = act;
  byId("plan-yes").textContent = label;
  byId("plan-nodes").hidden = !hasNodes;
  byId("plan-choices").replaceChildren(...(hasNodes ? choices(group) : []));
  byId("plan-confirm").hidden = typed === null;
  byId("plan-name").textContent = typed ?? "";
  byId("plan-typed").value = "";
  byId("plan").returnValue = "no";
  byId("plan").showModal();
  tell();
}

function choices(group) {
  const line = (node, text, isAble, isChecked) => {
    const label = make("label", "choice");
    const radio = make("input");
    Object.assign(radio, { type: "radio", name: "node", value: node ?? "", checked: isChecked });
    label.dataset.able = String(isAble);
    const about = make("span", "choice-text");
    about.append(make("b", "", node ?? "Where its policy says"), make("span", "choice-why", text));
    label.append(radio, about);
    return label;
  };
  const nodes = group.why.filter((why) => why.node !== group.node);
  const lines = nodes.map((why) => line(why.node, words.capital(words.sentence(why.why)), why.is_able, false));
  return [line(null, "The first node that can run it.", true, true), ...lines];
}

function chosen() {
  return wanted.typed ?? byId("plan").querySelector("input[name=node]:checked")?.value ?? "";
}

/** Asks the manager what would follow, and shows that. */
async function tell() {
  tries += 1;
  const mine = tries;
  const outcome = byId("plan-outcome");
  outcome.dataset.kind = "asking";
  byId("plan-told").textContent = "Asking the manager what would happen…";
  byId("plan-steps").replaceChildren();
  wanted.isGranted = false;
  allow();
  const { group, act } = wanted;
  let kind = "granted";
  let text;
  try {
    const body = await post(path(wanted, chosen(), true));
    text = body.text.replace(/^dry run: /, "");
  } catch (error) {
    kind = "refused";
    text = error.message;
  }
  if (mine !== tries) return;
  outcome.dataset.kind = kind;
  byId("plan-told").textContent = words.capital(words.sentence(text));
  if (kind === "granted" && group) byId("plan-steps").replaceChildren(...steps(group, act).map((step) => make("li", "", step)));
  wanted.isGranted = kind === "granted";
  allow();
}

/** The order in which things would be done. */
function steps(group, act) {
  const names = group.resources.map((resource) => resource.name);
  const there = group.node;
  const stop = there && names.length > 0 ? `On ${there}: stop ${list([...names].reverse())}, in this order.` : null;
  const proof = "Wait for proof that nothing of it is left there.";
  const start = `Then start ${list(names)}, in this order. It is interrupted until the last of them runs.`;
  if (act === "stop") return [stop].filter(Boolean);
  if (act === "move" || act === "failback") return [stop, proof, start].filter(Boolean);
  return [];
}

function list(names) { return names.length > 0 ? names.join(", ") : "nothing"; }

function allow() {
  const isTyped = wanted.typed === null || byId("plan-typed").value.trim() === wanted.typed;
  byId("plan-yes").disabled = !(wanted.isGranted && isTyped);
}

byId("plan-choices").addEventListener("change", tell);
byId("plan-typed").addEventListener("input", allow);
byId("plan-no").addEventListener("click", () => byId("plan").close("no"));
byId("plan").addEventListener("close", async () => {
  tries += 1;
  if (byId("plan").returnValue === "yes") await wish(path(wanted, chosen(), false));
});
