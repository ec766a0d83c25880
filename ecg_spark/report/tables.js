// Tables that sort, filter and are saved as TSV. Without this they are tables all the same.
"use strict";

(() => {
  const FEWEST_ROWS = 3; // shorter ones are read at a glance
  const FILTERED_FROM = 12;

  /** What a cell holds: its exact value where it shows a rounded one; empty for a missing value. */
  function valueOf(cell) {
    const value = cell.dataset.v ?? cell.textContent.trim().replace(/\s+/g, " ");
    return value === "–" || value === "nan" ? "" : value;
  }

  function numberOf(text) {
    const plain = text.replace(/[\u202f ](?=\d{3})/g, "").replace("−", "-");
    return /^[+-]?[\d.]/.test(plain) ? parseFloat(plain) : NaN;
  }

  /** Numbers by size, words by the alphabet; what is missing comes last, whichever way. */
  function compare(a, b, direction) {
    if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
    const [x, y] = [numberOf(a), numberOf(b)];
    if (!Number.isNaN(x) && !Number.isNaN(y)) return direction * (x - y);
    return direction * a.localeCompare(b, "en", { numeric: true });
  }

  function sortable(table, body, rows) {
    const heads = [...table.tHead.rows[0].cells];
    let sorted = null;
    let direction = 0;
    heads.forEach((head, column) => {
      const button = ecgSpark.make("button", { type: "button", className: "sort" });
      button.append(...head.childNodes);
      if (!button.textContent.trim()) button.ariaLabel = "first column";
      head.append(button);
      button.addEventListener("click", () => {
        // Numbers are looked at from the largest down, words from A; a third time: as it was.
        const first = head.classList.contains("n") ? -1 : 1;
        if (sorted !== column) direction = first;
        else direction = direction === first ? -first : 0;
        sorted = direction ? column : null;
        for (const other of heads) other.removeAttribute("aria-sort");
        if (direction) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        const values = new Map(rows.map((row) => [row, valueOf(row.cells[column])]));
        const order = direction
          ? [...rows].sort((a, b) => compare(values.get(a), values.get(b), direction))
          : rows;
        body.append(...order);
      });
    });
  }

  function filterOf(rows, count) {
    const field = ecgSpark.make("input", { type: "search", placeholder: "filter" });
    field.ariaLabel = "Show rows with these words";
    const texts = rows.map((row) =>
      [...row.cells].map((cell) => `${cell.textContent} ${valueOf(cell)}`).join(" ").toLowerCase(),
    );
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, k) => {
        row.hidden = !words.every((word) => texts[k].includes(word));
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
    return field;
  }

  /** The rows that are shown, in their order, as text between tabs. */
  function asTsv(table) {
    const rows = [table.tHead.rows[0], ...table.tBodies[0].rows].filter((row) => !row.hidden);
    const line = (row) => [...row.cells].map((cell) => valueOf(cell).replace(/[\t\r\n]+/g, " "));
    return `${rows.map((row) => line(row).join("\t")).join("\n")}\n`;
  }

  function nameOf(table) {
    const section = table.closest("section");
    const number = [...section.querySelectorAll("table")].indexOf(table) + 1;
    return `${section.id}-${number}.tsv`;
  }

  /** What does not scroll is no stop of the keyboard. */
  function scrollsByKeyboard() {
    for (const wide of document.querySelectorAll("section .wide")) {
      const scrolls =
        wide.scrollWidth > wide.clientWidth + 1 || wide.scrollHeight > wide.clientHeight + 1;
      wide.tabIndex = scrolls ? 0 : -1;
    }
  }

  /** Give a table its tools, unless it is read at a glance. */
  ecgSpark.withTools = (table) => {
    const body = table.tBodies[0];
    if (!table.tHead || !body || body.rows.length < FEWEST_ROWS) return;
    const rows = [...body.rows];
    const tools = ecgSpark.make("div", { className: "tools" });
    const count = ecgSpark.make("span");
    count.setAttribute("role", "status");
    if (rows.length >= FILTERED_FROM) tools.append(filterOf(rows, count));
    const button = ecgSpark.make("button", { type: "button", textContent: "Save as TSV" });
    button.ariaLabel = `Save as TSV. ${table.parentElement.ariaLabel}`;
    button.addEventListener("click", () => {
      const text = asTsv(table);
      ecgSpark.save(new Blob([text], { type: "text/tab-separated-values" }), nameOf(table));
    });
    tools.append(count, button);
    sortable(table, body, rows);
    table.parentElement.before(tools);
  };

  /** A number as the page's own tables show it. */
  function shown(value) {
    const isWhole = Number.isInteger(value) || Math.abs(value) >= 1000;
    const text = isWhole ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
    return text.replace("-", "−");
  }

  /** A table with its tools: `rows` of texts, numbers, elements, and null where a value is missing. */
  ecgSpark.tableOf = (heads, rows, label) => {
    const table = ecgSpark.make("table");
    const isNumber = heads.map((_, k) => rows.every((row) =>
      row[k] === null || typeof row[k] === "number" || /^(–$|[+−-]?\d)/.test(row[k])));
    const head = table.createTHead().insertRow();
    heads.forEach((textContent, k) => {
      head.append(ecgSpark.make("th", { scope: "col", textContent, className: isNumber[k] ? "n" : "" }));
    });
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      row.forEach((value, k) => {
        const cell = line.insertCell();
        cell.className = isNumber[k] ? "n" : "wrap";
        if (typeof value === "number") cell.dataset.v = value;
        cell.append(typeof value === "number" ? shown(value) : value ?? "–");
      });
    }
    const wide = ecgSpark.make("div", { className: "wide", ariaLabel: label, tabIndex: 0 }, table);
    wide.setAttribute("role", "region");
    const whole = ecgSpark.make("div", {}, wide);
    ecgSpark.withTools(table);
    return whole;
  };

  document.querySelectorAll("section .wide > table").forEach(ecgSpark.withTools);
  scrollsByKeyboard();
  addEventListener("resize", scrollsByKeyboard);
})();
