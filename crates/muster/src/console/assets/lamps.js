// The colour, the shape and the word for the state of a group, a resource, a server or a monitor. No page is touched here.
//
// Green runs, gray is meant to be off, yellow is on its way or waits, red does not run. Each has a shape and a word of its
// own beside its colour.

import { make, icon } from "./cards.js";
import * as words from "./words.js";

const GROUP = {
  online: ["green", "up", "Online"],
  offline: ["gray", "off", "Offline"],
  starting: ["yellow", "starting", "Starting"],
  stopping: ["yellow", "draining", "Stopping"],
  waiting: ["yellow", "failed", "Waiting"],
  failed: ["red", "down", "Failed"],
};
const MONITOR = {
  normal: ["green", "up", "Normal"],
  warning: ["yellow", "failed", "Warning"],
  unknown: ["yellow", "unknown", "Unknown"],
  error: ["red", "down", "Error"],
  paused: ["gray", "pause", "Paused"],
};
const SERVER = {
  up: ["green", "up", "Up"],
  caution: ["yellow", "failed", "Caution"],
  lost: ["red", "down", "Lost"],
  unknown: ["gray", "unknown", "Never heard"],
};
const WORST_FIRST = ["red", "yellow", "green", "gray"];

function lamp([colour, shape, word]) { return { colour, shape, word }; }
/** For a state that a newer manager may have and this page does not know. */
function other(state) { return ["yellow", "unknown", words.capital(String(state))]; }

export function ofGroup(group) {
  const found = lamp(GROUP[group.state] ?? other(group.state));
  return group.is_frozen ? { ...found, word: `${found.word}, frozen` } : found;
}
export function ofResource(resource) { return lamp(GROUP[resource.state] ?? other(resource.state)); }
export function ofMonitor(monitor) { return lamp(MONITOR[monitor.state] ?? other(monitor.state)); }

export function serverState(node) {
  if (node.left_out || node.reach === "unreachable") return "lost";
  if (!node.connected) return node.heard_ms ? "lost" : "unknown";
  return node.reach === "degraded" ? "caution" : "up";
}
export function ofServer(node) { return lamp(SERVER[serverState(node)]); }

/** Of many: the worst colour among them; of none: gray. */
export function worst(all) {
  const found = WORST_FIRST.map((colour) => all.find((one) => one.colour === colour)).find(Boolean);
  return found ?? lamp(["gray", "off", "None"]);
}

/** An element that shows a lamp: its shape, its colour and its word. */
export function makeLamp() {
  const element = make("span", "lamp");
  element.append(icon("unknown"), make("span", "lamp-word"));
  return element;
}

export function updateLamp(element, { colour, shape, word }) {
  if (element.dataset.lamp !== colour) element.dataset.lamp = colour;
  const use = element.querySelector("use");
  if (use.getAttribute("href") !== `#icon-${shape}`) use.setAttribute("href", `#icon-${shape}`);
  const text = element.querySelector(".lamp-word");
  if (text.textContent !== word) text.textContent = word;
}
