// The timeline of one move of a group: what each stage took, in milliseconds, as bars and as text.
//
// The time up to a stage is what it took to get there, so each bar ends at its stage. Texts come from nodes and people:
// they are written as text.

import { make, reconcile, setData, setText } from "./cards.js";
import * as words from "./words.js";

/** Which part of a move a stage ends, and the word for it. */
const STAGES = {
  asked: ["decide", "Asked for"],
  "last-heard": ["detect", "Last heard"],
  suspected: ["detect", "Suspected"],
  confirmed: ["detect", "Confirmed"],
  "lease-ended": ["detect", "Lease ended"],
  "fenced": ["detect", "Fenced"],
  failed: ["fail", "Failed"],
  stopping: ["stop", "Stopping"],
  stopped: ["stop", "Stopped"],
  decided: ["decide", "Decided"],
  committed: ["decide", "Committed"],
  "not-committed": ["fail", "Not committed"],
  told: ["decide", "Told"],
  "resource-starting": ["start", "Starting"],
  "resource-online": ["start", "Runs"],
  "resource-failed": ["fail", "Failed"],
  online: ["start", "Online"],
};
const PARTS = [["detect", "Detected"], ["fail", "Failed"], ["stop", "Stopped"], ["decide", "Decided"], ["start", "Started"]];
const OUTCOMES = { going: ["yellow", "goes on"], online: ["green", "online"], offline: ["gray", "stopped"], failed: ["red", "failed"] };

export function outcome(move) {
  const [colour, word] = OUTCOMES[move.outcome] ?? ["yellow", String(move.outcome)];
  return { colour, word };
}

/** `failover, one → two`. */
export function route(move) {
  const where = move.from && move.to && move.from !== move.to ? `${move.from} → ${move.to}` : move.to ? `on ${move.to}` : move.from ? `on ${move.from}` : "";
  return `${words.capital(move.kind)} ${where}`.trim();
}

export function took(move) {
  return move.ended_ms === null ? `${outcome(move).word}…` : words.millis(move.ended_ms - move.began_ms);
}

/** Each stage with when it began and ended, in milliseconds after the move's begin. */
function spans(move) {
  let before = 0;
  return move.stages.map((stage, index) => {
    const [part, word] = STAGES[stage.stage] ?? ["decide", words.capital(String(stage.stage))];
    const end = Math.max(before, stage.at_ms - move.began_ms);
    const span = { key: String(index), part, word, start: before, end, stage };
    before = end;
    return span;
  });
}

export function makeTimeline() {
  const box = make("div", "timeline");
  const strip = make("div", "strip");
  strip.setAttribute("aria-hidden", "true");
  box.append(make("p", "timeline-reason"), strip, make("ul", "legend"), make("ol", "stages"));
  box.append(make("p", "timeline-note quiet"));
  return box;
}

export function updateTimeline(box, move) {
  const all = spans(move);
  const total = Math.max(1, all.at(-1)?.end ?? 1);
  setData(box, "move", String(move.number));
  setText(box.querySelector(".timeline-reason"), words.capital(words.sentence(move.reason || "No reason is known")));
  const parts = PARTS.map(([part, word]) => {
    const spent = all.filter((span) => span.part === part).reduce((sum, span) => sum + span.end - span.start, 0);
    return { part, word, spent, isThere: all.some((span) => span.part === part) };
  }).filter((part) => part.isThere);
  reconcile(box.querySelector(".strip"), all.filter((span) => span.end > span.start), (span) => span.key, () => make("i"), (bar, span) => {
    setData(bar, "part", span.part);
    bar.style.flexGrow = String(span.end - span.start);
  });
  reconcile(box.querySelector(".legend"), parts, (part) => part.part, makeLegend, (item, part) => {
    setData(item, "part", part.part);
    setText(item.querySelector("span"), part.word);
    setText(item.querySelector("b"), words.millis(part.spent));
  });
  reconcile(box.querySelector(".stages"), all, (span) => span.key, makeStage, (item, span) => updateStage(item, span, total));
  const note = move.left_out > 0 ? `${move.left_out} further stages were not kept.` : "";
  setText(box.querySelector(".timeline-note"), note);
}

function makeLegend() {
  const item = make("li");
  const dot = make("i");
  dot.setAttribute("aria-hidden", "true");
  item.append(dot, make("span"), " ", make("b"));
  return item;
}

function makeStage() {
  const item = make("li", "stage");
  const bar = make("div", "stage-bar");
  bar.setAttribute("aria-hidden", "true");
  bar.append(make("i"));
  item.append(make("span", "stage-time"), make("b", "stage-word"), make("span", "stage-text"), bar);
  return item;
}

function updateStage(item, { part, word, start, end, stage }, total) {
  setData(item, "part", part);
  setData(item, "stage", stage.stage);
  setText(item.querySelector(".stage-time"), `${end.toLocaleString("en")} ms`);
  setText(item.querySelector(".stage-word"), stage.resource ? `${word}: ${stage.resource}` : word);
  const where = stage.node && !stage.text.includes(stage.node) ? `${stage.node}: ` : "";
  setText(item.querySelector(".stage-text"), words.opening(`${where}${stage.text}`, [stage.node, stage.resource].filter(Boolean)));
  const bar = item.querySelector("i");
  bar.style.left = `${(start / total) * 100}%`;
  bar.style.width = `${((end - start) / total) * 100}%`;
}
