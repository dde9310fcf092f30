// Talks to the manager and to the person: calls of the API, short notes, a question before something is done.
//
// Not here: the stream of what changes (see console.js).

import * as words from "./words.js";

const TOAST_MS = 6_000;
const byId = (id) => document.getElementById(id);

let isLost = false;
/** Nothing can be asked for while there is no connection. */
export function setLost(lost) { isLost = lost; }

async function call(path, method) {
  let answer;
  try {
    answer = await fetch(path, { method, headers: { "X-Muster-Key": localStorage.getItem("muster-key") ?? "" } });
  } catch {
    throw new Error(method === "GET" ? "The manager was not reached." : "The manager was not reached; nothing may have changed.");
  }
  if (answer.status === 204) return null;
  if (answer.status === 401) location.replace("/login");
  const body = await answer.json().catch(() => ({ message: "The answer was not understood", code: answer.status }));
  if (!answer.ok) throw new Error(`${body.message} (${body.code})`);
  return body;
}

export function get(path) { return call(path, "GET"); }
export function post(path) { return call(path, "POST"); }

/** Asks for something and says how it went; true if it was accepted. */
export async function wish(path) {
  if (isLost) {
    toast("There is no connection to the manager now.", true);
    return false;
  }
  try {
    const body = await post(path);
    toast(words.capital(words.sentence(body.text)), false);
    return true;
  } catch (error) {
    toast(error.message, true);
    return false;
  }
}

/** A question that is answered with the button `yes`, or not. */
export function ask({ title, text }, yes) {
  const dialog = byId("ask");
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  byId("ask-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

let toastTimer = null;
export function toast(text, isError) {
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
