// A locus in full: its region, its effects on all factors and traits, and what it does to the beat.
"use strict";

ecgSpark.loci = (() => {
  const told = ecgSpark.data("loci");
  if (!told) return null;
  const { make } = ecgSpark;
  const { element } = ecgSpark.paper;
  const [beta, se] = [ecgSpark.unpack(told.beta), ecgSpark.unpack(told.se)];
  const width = told.phenotypes.length;
  told.loci.forEach((locus, i) => {
    locus.marked = [...locus.sets.keys()].filter((k) => locus.sets[k].is_lead);
    locus.effects = told.phenotypes.map((phenotype, k) => ({
      phenotype, beta: beta[i * width + k], se: se[i * width + k],
    }));
  });
  const Z95 = 1.959964;
  const article = document.querySelector("#genome .locus");
  const RINGS = 4; // colours of the rings about the variants of marked credible sets
  const LINKAGE = [[0.8, "#fde725"], [0.6, "#a0da39"], [0.4, "#1fa187"], [0.2, "#365c8d"],
    [-1, "#46327e"]];
  const svg = (wide, high, label) => {
    const made = element("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": label });
    made.style.maxWidth = `${wide}px`;
    return made;
  };
  const text = (x, y, words, more = {}) => element("text", { x, y, ...more }, words);

  /** The tests about the lead variant by their linkage with it, above the genes. */
  function region(locus, wide) {
    const [away, heights, r2] = ["away", "heights", "r2"].map((name) => ecgSpark.unpack(locus[name]));
    const [left, right, top, bottom] = [44, wide - 12, 26, 214];
    const most = Math.max(locus.neg_log10_p, locus.threshold) * 1.1;
    const x = (distance) => left + ((distance + told.flank_bp) / (2 * told.flank_bp)) * (right - left);
    const y = (height) => bottom - (height / most) * (bottom - top);
    const lanes = laneOf(locus, x, left, right);
    const high = bottom + 40 + 22 * Math.max(0, ...lanes.map(({ lane }) => lane + 1));
    const made = svg(wide, high, `${away.length} variants within ${told.flank_bp / 1000} kb of ${
      locus.name} by −log₁₀ p; ${r2.filter((one) => one >= 0.8).length} linked with it by r² of 0.8 or more.`);
    made.append(element("path", { class: "axis",
      d: `M${left} ${top}V${bottom}H${right}` }), element("path", { class: "axis dashed",
      d: `M${left} ${y(locus.threshold)}H${right}` }));
    const step = ecgSpark.paper.round(most / 3);
    for (let value = 0; value < most; value += step) {
      made.append(text(left - 6, y(value) + 4, value, { class: "tick end" }));
    }
    made.append(text(4, 14, "−log₁₀ p", { class: "tick" }));
    for (const share of [-1, -0.5, 0, 0.5, 1]) {
      const place = (locus.position + share * told.flank_bp) / 1e6;
      made.append(text(x(share * told.flank_bp), bottom + 16, place.toFixed(2),
        { class: share === 1 ? "tick end" : "tick middle" }));
    }
    const order = [...r2.keys()].sort((a, b) => r2[a] - r2[b]);
    for (const i of order) {
      const fill = LINKAGE.find(([low]) => r2[i] >= low)[1];
      made.append(element("circle", { cx: x(away[i]), cy: y(heights[i]), r: 3.4, fill,
        class: "variant" }, element("title", {},
        `${locus.contig}:${(locus.position + away[i]).toLocaleString("en")}, −log₁₀ p ${
          heights[i].toFixed(2)}, r² ${r2[i].toFixed(2)}`)));
    }
    const marks = made.appendChild(element("g"));
    locus.drawMarks = () => marks.replaceChildren(...locus.marked.flatMap((set, k) =>
      locus.sets[set].members
        .map(([number]) => locus.variants[number])
        .filter(([distance, , , , height]) => height !== null && Math.abs(distance) <= told.flank_bp)
        .map(([distance, , , , height]) => element("circle", { class: `ring ring-${k % RINGS}`,
          cx: x(distance), cy: y(height), r: (distance ? 5.5 : 9) + 2 * (k % RINGS) }))));
    locus.drawMarks();
    if (locus.sought !== null) {
      made.append(element("path", { class: "sought", d: `M${x(locus.sought)} ${top}V${bottom}` }));
    }
    const [cx, cy] = [x(0), y(locus.neg_log10_p)];
    made.append(element("path", { class: "lead-variant",
      d: `M${cx} ${cy - 7}L${cx + 6} ${cy}L${cx} ${cy + 7}L${cx - 6} ${cy}Z` }));
    let keyX = right;
    for (const [low, fill] of LINKAGE) {
      const words = `r² ${low < 0 ? "below 0.2" : `≥ ${low}`}`;
      keyX -= words.length * 6 + 20;
      if (keyX < left + 50) break;
      made.append(element("circle", { cx: keyX, cy: 10, r: 4, fill, class: "variant" }),
        text(keyX + 8, 14, words, { class: "tick" }));
    }
    for (const { name, from, until, lane, end } of lanes) {
      const level = bottom + 30 + 22 * lane;
      made.append(element("path", { class: "gene", d: `M${from} ${level}H${until}` }),
        text(end ? until : from, level + 13, name, { class: end ? "tick end gene-name" : "tick gene-name" }));
    }
    return made;
  }

  /** Genes in lanes, so that no name lies on another. */
  function laneOf(locus, x, left, right) {
    const taken = [];
    return locus.genes.map(([name, start, end]) => {
      const from = Math.max(x(start - locus.position), left);
      const until = Math.max(Math.min(x(end - locus.position), right), from + 3);
      const room = name.length * 7 + 8;
      const atEnd = from + room > right;
      const begin = atEnd ? Math.min(from, until - room) : from;
      let lane = taken.findIndex((reach) => reach < begin);
      if (lane < 0) lane = taken.length;
      taken[lane] = Math.max(until, begin + room) + 6;
      return { name, from, until, lane, end: atEnd };
    });
  }

  /** β and its 95 % interval on every phenotype. */
  function effects(locus, wide) {
    const known = locus.effects.filter((one) => Number.isFinite(one.beta) && Number.isFinite(one.se));
    const most = Math.max(...known.map((one) => Math.abs(one.beta) + Z95 * one.se));
    const columns = Math.max(1, Math.min(3, Math.floor(wide / 300)));
    const rows = Math.ceil(known.length / columns);
    const [row, column, label] = [17, wide / columns, 120];
    const made = svg(wide, rows * row + 26,
      `β per effect allele with its 95 % interval on ${known.length} phenotypes.`);
    known.forEach((one, i) => {
      const left = Math.floor(i / rows) * column;
      const y = (i % rows) * row + 12;
      const middle = left + label + (column - label - 16) / 2;
      const scale = (column - label - 16) / 2 / most;
      const x = (value) => middle + value * scale;
      const strong = Math.abs(one.beta / one.se) > 5.45 ? " strong" : "";
      const name = ecgSpark.shortened(one.phenotype, 15);
      made.append(
        element("path", { class: "axis", d: `M${middle} ${y - 9}V${y + 8}` }),
        element("g", { class: `effect${strong}` },
          element("title", {}, `${one.phenotype}: β ${one.beta.toFixed(3)}, SE ${one.se.toFixed(3)}`),
          text(left + label - 8, y + 4, name, { class: "tick end" }),
          element("path", { d: `M${x(one.beta - Z95 * one.se)} ${y}H${x(one.beta + Z95 * one.se)}` }),
          element("circle", { cx: x(one.beta), cy: y, r: 3.4 })));
    });
    const scaleText = `each axis from −${most.toFixed(2)} to +${most.toFixed(2)} SD per allele`;
    made.append(text(wide - 4, rows * row + 20, scaleText, { class: "tick end" }));
    return made;
  }

  function asTable(locus) {
    const rows = locus.effects.filter(({ beta: b }) => Number.isFinite(b))
      .map((one) => [one.phenotype, one.beta, one.se, one.beta / one.se]);
    const table = ecgSpark.tableOf(["phenotype", "β", "SE", "z"], rows, `Effects of ${locus.name}`);
    return make("details", {}, make("summary", { textContent: "as a table" }), table);
  }

  // A part of an opened locus: its title, and what draws it into so many pixels or gives null.
  // More of them may be added before a locus is opened: see genome.details for what they read.
  const parts = [
    ["Region", region],
    ["Effects on all phenotypes", (locus, wide) => make("div", {}, effects(locus, wide), asTable(locus))],
  ];

  let opened = -1;
  /** Open a locus; `sought` is how far from its lead the variant lies that a reader looks for. */
  function open(i, moves = true, sought = null) {
    opened = i;
    const locus = told.loci[i];
    locus.sought = sought;
    const heading = make("h3", { tabIndex: -1, textContent: `Locus ${locus.name}` });
    const facts = [
      locus.variant, locus.region, `nearest gene ${locus.gene}`, `found by ${locus.found_by}`,
      `best: ${locus.phenotype.replaceAll("_", " ")}, −log₁₀ p ${locus.neg_log10_p.toFixed(1)}`,
      `effect allele ${locus.variant.split(":").pop()}, frequency ${locus.af.toFixed(3)}`,
      ...(locus.published === "–" ? [] : [locus.published]),
    ];
    article.replaceChildren(steps(), heading,
      make("p", { className: "quiet", textContent: `${facts.join(" · ")}.` }));
    article.hidden = false;
    for (const [title, build] of parts) {
      const made = build(locus, Math.max(article.clientWidth - 8, 280));
      if (made) article.append(make("h4", { textContent: title }), made);
    }
    ecgSpark.genome.goTo(i);
    if (moves) {
      heading.focus({ preventScroll: true });
      document.querySelector("#genome .manhattan").scrollIntoView({ block: "start" });
    }
  }

  function steps() {
    const row = make("div", { className: "tools" });
    for (const [words, by] of [["← stronger", -1], ["weaker →", 1]]) {
      const button = make("button", { type: "button", textContent: words });
      button.disabled = !told.loci[opened + by];
      button.addEventListener("click", () => open(opened + by));
      row.append(button);
    }
    const close = make("button", { type: "button", textContent: "close" });
    close.addEventListener("click", () => {
      article.hidden = true;
      document.querySelector("#genome canvas").focus();
    });
    row.append(close);
    return row;
  }

  /** Buttons for several loci that a search has found; none of one. */
  function listed(found) {
    const buttons = found.map((i) => {
      const button = make("button", { type: "button", textContent: told.loci[i].name });
      button.addEventListener("click", () => open(i));
      return button;
    });
    document.querySelector("#genome .found").replaceChildren(...(buttons.length > 1 ? buttons : []));
  }

  for (const row of document.querySelectorAll("table.loci tr[data-locus]")) {
    const name = row.querySelector(".name");
    const button = make("button", { type: "button", className: "link", textContent: name.textContent });
    button.ariaLabel = `Open the locus ${name.textContent}`;
    button.addEventListener("click", () => open(Number(row.dataset.locus)));
    name.replaceChildren(button);
  }
  let drawnAt = innerWidth;
  addEventListener("resize", () => {
    if (opened >= 0 && !article.hidden && innerWidth !== drawnAt) open(opened, false, told.loci[opened].sought);
    drawnAt = innerWidth;
  });
  return { loci: told.loci, tables: told.tables, open, listed, parts, flank: told.flank_bp, RINGS };
})();
