// A menu of what can be done with something: by right click, by the menu key or Shift+F10, by a long press, by a button.
//
// Arrows, Home, End and first letters go through it, Enter takes, Escape and Tab close. Whatever had the focus gets it
// back. What makes no sense now stays in it with the reason, so that nobody has to guess.

import { icon, make } from "./cards.js";

/** A press that lasts this long asks for the menu. */
const LONG_PRESS_MS = 500;
/** A finger that moves further scrolls. */
const PRESS_SLACK_PX = 12;
/** One press may be told as a key and as a click with the right button: the second is not another wish. */
const SAME_WISH_MS = 700;

let open = null;

export function isOpen() { return open !== null; }

export function close(giveFocusBack = true) {
  if (!open) return;
  const { box, owner, button } = open;
  open = null;
  box.remove();
  button?.setAttribute("aria-expanded", "false");
  if (giveFocusBack && owner?.isConnected) owner.focus();
}

/**
 * Shows it at a point. Items: `label`, `icon`, `act`; `why` says why it cannot be done now; `isDanger` sets it apart;
 * null draws a line.
 */
export function show({ title, items, x, y, owner, button }) {
  close(false);
  if (items.every((item) => item === null)) return;
  const box = make("div", "menu");
  box.setAttribute("role", "menu");
  box.setAttribute("aria-label", title);
  box.append(make("div", "menu-title", title));
  for (const item of items) box.append(item ? makeItem(item) : makeLine());
  document.body.append(box);
  place(box, x, y);
  open = { box, owner, button, at: Date.now() };
  button?.setAttribute("aria-expanded", "true");
  box.addEventListener("keydown", onKey);
  box.addEventListener("contextmenu", (event) => event.preventDefault());
  (entries().find((item) => !item.hasAttribute("aria-disabled")) ?? entries()[0]).focus();
}

function makeLine() {
  const line = make("div", "menu-line");
  line.setAttribute("role", "separator");
  return line;
}

function makeItem({ label, icon: shape, act, why, isDanger }) {
  const item = make("button", "menu-item");
  item.type = "button";
  item.setAttribute("role", "menuitem");
  item.tabIndex = -1;
  item.dataset.item = label;
  if (isDanger) item.dataset.danger = "yes";
  const text = make("span", "menu-label", label);
  item.append(icon(shape ?? "info"), text);
  if (why) {
    item.setAttribute("aria-disabled", "true");
    item.append(make("span", "menu-why", why));
  }
  item.addEventListener("click", () => {
    if (why) return;
    close();
    act();
  });
  item.addEventListener("pointermove", () => item.focus());
  return item;
}

/** Beside the point, within the window. A narrow window shows it at its lower edge (see failover.css). */
function place(box, x, y) {
  const { width, height } = box.getBoundingClientRect();
  const margin = 8;
  const left = Math.min(x, document.documentElement.clientWidth - width - margin);
  const top = y + height + margin > innerHeight ? y - height : y;
  box.style.left = `${Math.max(margin, left)}px`;
  box.style.top = `${Math.max(margin, Math.min(top, innerHeight - height - margin))}px`;
}

function entries() { return [...(open?.box.querySelectorAll("[role=menuitem]") ?? [])]; }

function onKey(event) {
  const all = entries();
  const at = all.indexOf(document.activeElement);
  const go = (index) => all[(index + all.length) % all.length].focus();
  const letter = event.key.length === 1 && !event.ctrlKey && !event.metaKey ? event.key.toLowerCase() : null;
  if (event.key === "ArrowDown") go(at + 1);
  else if (event.key === "ArrowUp") go(at < 0 ? -1 : at - 1);
  else if (event.key === "Home") go(0);
  else if (event.key === "End") go(-1);
  else if (event.key === "Escape" || event.key === "Tab") close();
  else if (letter && letter !== " ") {
    const after = [...all.slice(at + 1), ...all.slice(0, at + 1)];
    after.find((item) => item.dataset.item.toLowerCase().startsWith(letter))?.focus();
    return;
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

/** The button with three dots that opens it where there is no right button. `find()` gives title and items. */
export function makeButton(label) {
  const button = make("button", "more");
  button.type = "button";
  button.dataset.more = "yes";
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-label", label);
  button.append(icon("more"));
  return button;
}

/**
 * Gives menus to all within `area` that `of(element)` knows: it gives the thing's element, its title and its items, or null.
 */
export function attach(area, of) {
  const showFor = (target, x, y, button) => {
    const found = of(target);
    if (!found || found.items.length === 0) return false;
    if (open && open.owner === found.element && Date.now() - open.at < SAME_WISH_MS) return true;
    const box = found.element.getBoundingClientRect();
    const own = button?.getBoundingClientRect();
    const point = { x: x ?? (own ? own.left : box.left + 28), y: y ?? (own ? own.bottom + 4 : box.bottom) };
    show({ title: found.title, items: found.items, ...point, owner: found.element, button });
    return true;
  };
  area.addEventListener("contextmenu", (event) => {
    // The menu key comes without a place.
    const isKey = event.clientX === 0 && event.clientY === 0;
    if (showFor(event.target, isKey ? null : event.clientX, isKey ? null : event.clientY)) event.preventDefault();
  });
  area.addEventListener("keydown", (event) => {
    const isMenuKey = event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey);
    if (isMenuKey && showFor(event.target, null, null)) event.preventDefault();
  });
  area.addEventListener("click", (event) => {
    const button = event.target.closest("[data-more]");
    if (button && showFor(button, null, null, button)) event.stopPropagation();
  });
  attachPress(area, showFor);
}

function attachPress(area, showFor) {
  let timer = null;
  let start = null;
  const cancel = () => { clearTimeout(timer); timer = null; };
  area.addEventListener("pointerdown", (event) => {
    cancel();
    // Not every long press ends with a click.
    delete area.dataset.pressed;
    if (event.pointerType !== "touch" || event.target.closest("button, input, select")) return;
    start = event;
    timer = setTimeout(() => {
      timer = null;
      if (showFor(start.target, start.clientX, start.clientY)) area.dataset.pressed = "yes";
    }, LONG_PRESS_MS);
  });
  area.addEventListener("pointermove", (event) => {
    if (timer && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > PRESS_SLACK_PX) cancel();
  });
  for (const end of ["pointerup", "pointercancel", "scroll"]) area.addEventListener(end, cancel);
  // The click that ends a long press is none.
  area.addEventListener("click", (event) => {
    if (!area.dataset.pressed) return;
    delete area.dataset.pressed;
    event.stopPropagation();
    event.preventDefault();
  }, true);
}

document.addEventListener("pointerdown", (event) => {
  if (open && !open.box.contains(event.target) && !event.target.closest("[data-more]")) close(false);
}, true);
addEventListener("resize", () => close(false));
