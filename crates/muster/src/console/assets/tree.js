// A tree of names with lamps: keyboard and mouse as the ARIA tree pattern has them. It knows nothing of groups.
//
// Items come as a flat list in the order in which they are shown, each with its level; what is folded is kept by key.

import { icon, make, reconcile, setData, setText } from "./cards.js";
import { makeLamp, updateLamp } from "./lamps.js";
import * as menu from "./menu.js";

export class Tree {
  /** `onSelect(key)` is called for what a person selects. */
  constructor(box, onSelect) {
    this.box = box;
    this.onSelect = onSelect;
    this.items = [];
    this.folded = new Set();
    this.selected = null;
    this.focused = null;
    box.addEventListener("click", (event) => this.#click(event));
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("focusin", (event) => {
      const row = event.target.closest("[role=treeitem]");
      if (row && row.dataset.key !== this.focused) this.#focus(row.dataset.key, false);
    });
  }

  /** Items: `key`, `level` from 1, `name`, `lamp`, `isFolded` at first, `note`, `hasMenu`. */
  show(items, selected) {
    const known = new Set(this.items.map((item) => item.key));
    for (const item of items) if (item.isFolded && !known.has(item.key)) this.folded.add(item.key);
    this.items = placed(items);
    this.selected = selected;
    if (!this.items.some((item) => item.key === this.focused)) this.focused = selected;
    this.#render();
  }

  #visible() {
    const visible = [];
    let hiddenBelow = Infinity;
    for (const item of this.items) {
      if (item.level > hiddenBelow) continue;
      hiddenBelow = this.folded.has(item.key) ? item.level : Infinity;
      visible.push(item);
    }
    return visible;
  }

  #render() {
    const visible = this.#visible();
    if (!visible.some((item) => item.key === this.focused)) this.focused = visible[0]?.key;
    reconcile(this.box, visible, (item) => item.key, makeRow, (row, item) => this.#update(row, item));
  }

  #update(row, item) {
    const attributes = {
      "aria-level": item.level,
      "aria-setsize": item.among.count,
      "aria-posinset": item.place,
      "aria-selected": item.key === this.selected,
      tabindex: item.key === this.focused ? 0 : -1,
    };
    for (const [name, value] of Object.entries(attributes)) {
      if (row.getAttribute(name) !== String(value)) row.setAttribute(name, value);
    }
    if (item.isParent) row.setAttribute("aria-expanded", String(!this.folded.has(item.key)));
    else row.removeAttribute("aria-expanded");
    setData(row, "level", String(item.level));
    setData(row, "item", item.key);
    setData(row, "parent", item.isParent ? "yes" : "no");
    setText(row.querySelector(".tree-name"), item.name);
    setText(row.querySelector(".tree-note"), item.note ?? "");
    updateLamp(row.querySelector(".lamp"), item.lamp);
    const more = row.querySelector(".more");
    more.hidden = !item.hasMenu;
    if (item.hasMenu) more.setAttribute("aria-label", `What to do with ${item.name}`);
  }

  #click(event) {
    const row = event.target.closest("[role=treeitem]");
    if (!row || event.target.closest(".more")) return;
    const { key } = row.dataset;
    this.#focus(key, true);
    if (event.target.closest(".twist")) this.#fold(key, !this.folded.has(key));
    else this.#select(key);
  }

  #select(key) {
    this.selected = key;
    this.#render();
    this.onSelect(key);
  }

  #fold(key, isFolded) {
    if (isFolded) this.folded.add(key);
    else this.folded.delete(key);
    this.#render();
  }

  #focus(key, isWanted) {
    this.focused = key;
    this.#render();
    if (isWanted) this.#row(key)?.focus();
  }

  #row(key) {
    return [...this.box.children].find((row) => row.dataset.key === key && !row.classList.contains("leaving"));
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest(".more")) return;
    const visible = this.#visible();
    const at = visible.findIndex((item) => item.key === this.focused);
    const item = visible[at];
    if (!item) return;
    const go = (index) => {
      const next = visible[Math.max(0, Math.min(visible.length - 1, index))];
      this.#focus(next.key, true);
    };
    const isFolded = this.folded.has(item.key);
    if (event.key === "ArrowDown") go(at + 1);
    else if (event.key === "ArrowUp") go(at - 1);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(visible.length - 1);
    else if (event.key === "ArrowRight" && item.isParent) {
      if (isFolded) this.#fold(item.key, false);
      else go(at + 1);
    } else if (event.key === "ArrowLeft") {
      if (item.isParent && !isFolded) this.#fold(item.key, true);
      else go(visible.slice(0, at).findLastIndex((above) => above.level < item.level));
    } else if (event.key === "Enter" || event.key === " ") this.#select(item.key);
    else if (event.key.length === 1) {
      const letter = event.key.toLowerCase();
      const order = [...visible.slice(at + 1), ...visible.slice(0, at)];
      const found = order.find((one) => one.name.toLowerCase().startsWith(letter));
      if (!found) return;
      this.#focus(found.key, true);
    } else return;
    event.preventDefault();
  }
}

/** Each with its place among those of one parent, in one pass. */
function placed(items) {
  const open = [];
  return items.map((item, index) => {
    open.length = item.level;
    const among = (open[item.level - 1] ??= { count: 0 });
    among.count += 1;
    return { ...item, among, place: among.count, isParent: items[index + 1]?.level > item.level };
  });
}

function makeRow() {
  const row = make("div", "tree-row");
  row.setAttribute("role", "treeitem");
  const twist = make("span", "twist");
  twist.setAttribute("aria-hidden", "true");
  twist.append(icon("twist"));
  const more = menu.makeButton("");
  more.tabIndex = -1;
  const lamp = makeLamp();
  const text = make("span", "tree-text");
  // The lamp's word stands after the name, for eyes and for ears.
  text.append(make("span", "tree-name"), lamp.querySelector(".lamp-word"), make("span", "tree-note"));
  lamp.append(text);
  row.append(twist, lamp, more);
  return row;
}
