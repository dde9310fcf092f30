// One way to make a table: columns once, rows by name, cells only changed where they differ.
//
// A narrow window shows each row as a card, with the column's name before each value (see failover.css).

import { make, reconcile, setText } from "./cards.js";

/**
 * A table in a box that scrolls by itself. Columns: `head`, and `text(item)`, or `make(cell)` and `update(cell, item)`;
 * `kind` becomes the cell's class.
 */
export function makeTable(caption, columns) {
  const box = make("div", "table-box");
  const table = make("table", "table");
  table.append(make("caption", "unseen", caption));
  const head = make("thead");
  const line = make("tr");
  for (const column of columns) {
    const cell = make("th", column.kind ?? "", column.head);
    cell.scope = "col";
    line.append(cell);
  }
  head.append(line);
  table.append(head, make("tbody"));
  box.append(table);
  box.columns = columns;
  return box;
}

/** `dress(row, item)` may set data of a row. */
export function updateTable(box, items, keyOf, dress = () => {}) {
  const { columns } = box;
  reconcile(box.querySelector("tbody"), items, keyOf, () => makeRow(columns), (row, item) => {
    dress(row, item);
    columns.forEach((column, index) => {
      const cell = row.children[index];
      if (column.update) column.update(cell, item);
      else setText(cell, String(column.text(item) ?? ""));
    });
  });
  return box;
}

export function makeRow(columns) {
  const row = make("tr");
  columns.forEach((column, index) => {
    const cell = make(index === 0 ? "th" : "td", column.kind ?? "");
    if (index === 0) cell.scope = "row";
    cell.dataset.head = column.head;
    column.make?.(cell);
    row.append(cell);
  });
  return row;
}
