// The table of monitors: how each is on each node, and a button to pause it or to let it go on.
//
// Not here: where what the button asks for is sent (see console.js).

import * as cards from "./cards.js";
import * as words from "./words.js";

const ICONS = { normal: "up", warning: "failed", error: "down", unknown: "unknown", paused: "stop", idle: "stop" };

/** Shows them; the section is hidden where there are none. `act(monitor, what)` is called by the buttons. */
export function show(section, body, monitors, act) {
  section.hidden = monitors.length === 0;
  cards.reconcile(body, monitors, (one) => `${one.monitor} ${one.node}`, () => makeRow(act), updateRow);
}

function makeRow(act) {
  const row = cards.make("tr", "monitor");
  for (let column = 0; column < 7; column += 1) row.append(cards.make("td", ""));
  const state = row.children[2];
  state.append(cards.icon("unknown"), cards.make("span", "monitor-word"));
  const button = cards.make("button", "act");
  button.type = "button";
  button.addEventListener("click", () => act(row.dataset.monitor, button.dataset.act));
  row.lastElementChild.append(button);
  return row;
}

function updateRow(row, monitor) {
  row.dataset.monitor = monitor.monitor;
  row.dataset.state = monitor.state;
  const took = monitor.took_ms === null ? "–" : words.latency(monitor.took_ms * 1000);
  const texts = { 0: monitor.monitor, 1: monitor.node, 3: `${monitor.kind} ${monitor.target}`, 4: took, 5: monitor.reason };
  for (const [column, text] of Object.entries(texts)) {
    if (row.children[column].textContent !== text) row.children[column].textContent = text;
  }
  row.querySelector("use").setAttribute("href", `#icon-${ICONS[monitor.state]}`);
  const age = words.duration(words.now() - monitor.since_ms);
  row.querySelector(".monitor-word").textContent = `${words.capital(monitor.state)} for ${age}`;
  const button = row.querySelector("button");
  button.dataset.act = monitor.state === "paused" || monitor.drill_ends_ms !== null ? "resume" : "pause";
  button.textContent = words.capital(button.dataset.act);
  button.setAttribute("aria-label", `${button.textContent} monitor ${monitor.monitor}`);
  const why = words.forbidden();
  button.disabled = Boolean(why);
  button.title = why ?? "";
}
