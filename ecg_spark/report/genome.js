// The Manhattan plot: one zooms, moves and points at it, and finds a locus by its name or place.
"use strict";

(() => {
  const told = ecgSpark.data("genome");
  if (!told) return;
  const { make } = ecgSpark;
  const HEIGHT = 320;
  const PAD = { left: 44, right: 10, top: 26, bottom: 34 };
  const CLOSEST_BP = 200_000;
  const NEAR_PX = 14;
  const NAMES_SHOWN = 14;
  const NAMED_ANYWAY_BP = 5e7; // closer up, the loci of other methods are named, too

  const starts = [];
  let length = 0;
  for (const [, size] of told.contigs) {
    starts.push(length);
    length += size;
  }
  const contigs = told.contigs.map(([name]) => name);
  const groups = told.groups.map((group) => {
    const [positions, heights, best] = ["positions", "heights", "best"].map((name) =>
      ecgSpark.unpack(group[name]));
    const x = new Float64Array(positions.length);
    let from = 0;
    group.counts.forEach((count, contig) => {
      for (let i = from; i < from + count; i++) x[i] = starts[contig] + positions[i];
      from += count;
    });
    const top = Math.max(group.threshold * 1.25, heights.reduce((a, b) => Math.max(a, b), 0) * 1.12);
    return { ...group, x, heights, best, top };
  });
  const { loci } = ecgSpark.loci;
  const placeOf = (contig, position) => starts[contigs.indexOf(contig)] + position;
  const leads = loci.map((locus) => placeOf(locus.contig, locus.position));

  const place = document.querySelector("#genome .manhattan");
  const status = document.querySelector("#genome [role=status]");
  const canvas = make("canvas", { tabIndex: 0 });
  const tip = make("div", { className: "tip", hidden: true });
  place.append(canvas, tip);
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label",
    "Manhattan plot. Arrows move, plus and minus zoom, Enter opens the strongest locus in view.");
  const context = canvas.getContext("2d");
  let chosen = 0;
  let view = [0, length];
  let floor = 0;

  const width = () => place.clientWidth - PAD.left - PAD.right;
  const toX = (at) => PAD.left + ((at - view[0]) / (view[1] - view[0])) * width();
  const toY = (height) =>
    PAD.top + (1 - (height - floor) / (groups[chosen].top - floor)) * (HEIGHT - PAD.top - PAD.bottom);
  const toBp = (x) => view[0] + ((x - PAD.left) / width()) * (view[1] - view[0]);
  const colour = (name) => getComputedStyle(place).getPropertyValue(name);

  /** The contig and position of a place along the genome. */
  function within(at) {
    let contig = starts.length - 1;
    while (contig > 0 && starts[contig] > at) contig -= 1;
    return [contigs[contig], Math.round(at - starts[contig])];
  }

  function draw() {
    const ratio = devicePixelRatio || 1;
    canvas.width = place.clientWidth * ratio;
    canvas.height = HEIGHT * ratio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, place.clientWidth, HEIGHT);
    context.font = "12px system-ui, sans-serif";
    drawAxes();
    drawPoints();
    drawNames();
  }

  function drawAxes() {
    const group = groups[chosen];
    const bottom = HEIGHT - PAD.bottom;
    context.fillStyle = colour("--quiet");
    context.textAlign = "right";
    const step = [1, 2, 5, 10, 20, 50, 100, 200].find((one) => (group.top - floor) / one <= 7) ?? 500;
    for (let value = Math.ceil(floor / step) * step; value < group.top; value += step) {
      context.fillText(value, PAD.left - 6, toY(value) + 4);
    }
    context.textAlign = "left";
    context.fillText("−log₁₀ p", 4, 14);
    context.textAlign = "center";
    let free = -Infinity;
    contigs.forEach((name, i) => {
      const [left, right] = [toX(starts[i]), toX(starts[i] + told.contigs[i][1])];
      if (right < PAD.left || left > PAD.left + width()) return;
      if (i % 2) {
        context.fillStyle = colour("--soft");
        const from = Math.max(left, PAD.left);
        context.fillRect(from, PAD.top, Math.min(right, PAD.left + width()) - from, bottom - PAD.top);
      }
      const middle = (Math.max(left, PAD.left) + Math.min(right, PAD.left + width())) / 2;
      const half = context.measureText(name).width / 2;
      context.fillStyle = colour("--quiet");
      if (middle - half > free) {
        context.fillText(name, middle, HEIGHT - 4);
        free = middle + half + 4;
      }
    });
    drawMegabases(bottom);
    context.strokeStyle = colour("--ink");
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(PAD.left, toY(group.threshold));
    context.lineTo(PAD.left + width(), toY(group.threshold));
    context.stroke();
    context.setLineDash([]);
  }

  /** Places in Mb, where little enough of the genome is in view. */
  function drawMegabases(bottom) {
    const step = [1e4, 1e5, 1e6, 5e6, 1e7, 5e7]
      .flatMap((one) => [one, 2 * one])
      .find((one) => (view[1] - view[0]) / one <= width() / 70);
    if (!step || view[1] - view[0] > 4e8) return;
    contigs.forEach((_, i) => {
      const end = Math.min(told.contigs[i][1], view[1] - starts[i]);
      for (let at = Math.max(0, Math.ceil((view[0] - starts[i]) / step)) * step; at < end; at += step) {
        const x = toX(starts[i] + at);
        if (x < PAD.left + width() - 20) context.fillText(`${at / 1e6} Mb`, x, bottom + 14);
      }
    });
  }

  function drawPoints() {
    const { x, heights, threshold, colour: own } = groups[chosen];
    const quiet = colour("--edge");
    for (let i = 0; i < x.length; i++) {
      if (x[i] < view[0] || x[i] > view[1]) continue;
      const hit = heights[i] >= threshold;
      context.fillStyle = hit ? own : quiet;
      const size = hit ? 5 : 2.4;
      context.fillRect(toX(x[i]) - size / 2, toY(heights[i]) - size / 2, size, size);
    }
  }

  /** The names of the strongest loci in view, none over another. */
  function drawNames() {
    const taken = [];
    context.fillStyle = colour("--ink");
    context.textAlign = "center";
    loci.forEach((locus, i) => {
      if (leads[i] < view[0] || leads[i] > view[1] || taken.length >= NAMES_SHOWN) return;
      const isOfGroup = highestAt(i) >= groups[chosen].threshold;
      if (!isOfGroup && view[1] - view[0] > NAMED_ANYWAY_BP) return;
      const text = locus.gene === "–" ? locus.name : locus.gene.replace(/ \(.*/, "");
      const label = ecgSpark.shortened(text, 14);
      const half = context.measureText(label).width / 2 + 3;
      const x = Math.min(Math.max(toX(leads[i]), PAD.left + half), PAD.left + width() - half);
      const y = Math.max(toY(Math.min(highestAt(i), groups[chosen].top)) - 8, PAD.top - 4);
      if (taken.some(([a, b, c]) => a < x + half && b > x - half && Math.abs(c - y) < 14)) return;
      taken.push([x - half, x + half, y]);
      context.fillText(label, x, y);
    });
  }

  /** The height of the chosen group's best point within a locus; the floor where it has none. */
  const highest = new Map();
  function highestAt(i) {
    const key = `${chosen} ${i}`;
    if (!highest.has(key)) {
      const { x, heights } = groups[chosen];
      const from = placeOf(loci[i].contig, loci[i].start);
      const until = placeOf(loci[i].contig, loci[i].end);
      let best = floor;
      for (let k = 0; k < x.length; k++) {
        if (x[k] >= from && x[k] <= until) best = Math.max(best, heights[k]);
      }
      highest.set(key, best);
    }
    return highest.get(key);
  }

  function show(from, until) {
    const span = Math.min(Math.max(until - from, CLOSEST_BP), length);
    const start = Math.min(Math.max((from + until - span) / 2, 0), length - span);
    view = [start, start + span];
    tip.hidden = true;
    requestAnimationFrame(draw);
  }

  function zoom(factor, about = (view[0] + view[1]) / 2) {
    show(about - (about - view[0]) * factor, about + (view[1] - about) * factor);
  }

  function pan(share) {
    const by = share * (view[1] - view[0]);
    const start = Math.min(Math.max(view[0] + by, 0), length - (view[1] - view[0]));
    show(start, start + view[1] - view[0]);
  }

  function pointAt(x, y) {
    const group = groups[chosen];
    let nearest = -1;
    let distance = NEAR_PX ** 2;
    for (let i = 0; i < group.x.length; i++) {
      const away = (toX(group.x[i]) - x) ** 2 + (toY(group.heights[i]) - y) ** 2;
      if (away < distance) [nearest, distance] = [i, away];
    }
    return nearest;
  }

  /** The locus at a place along the genome, the strongest first; -1 where there is none. */
  function locusAt(at, reach = 0) {
    return loci.findIndex((locus) =>
      at >= placeOf(locus.contig, locus.start) - reach && at <= placeOf(locus.contig, locus.end) + reach);
  }

  function tell(x, y) {
    const i = pointAt(x, y);
    tip.hidden = i < 0;
    canvas.style.cursor = i < 0 ? "grab" : "pointer";
    if (i < 0) return;
    const group = groups[chosen];
    const [contig, position] = within(group.x[i]);
    const locus = loci[locusAt(group.x[i])];
    tip.textContent = `${contig}:${position.toLocaleString("en")}, −log₁₀ p ${
      group.heights[i].toFixed(1)}, ${group.phenotypes[group.best[i]]}${
      locus ? `. Locus ${locus.name}${locus.gene === "–" ? "" : `, ${locus.gene}`}` : ""}`;
    tip.style.left = `${Math.min(x, place.clientWidth - 200)}px`;
    tip.style.top = `${toY(group.heights[i]) + 10}px`;
  }

  // Pointers: one moves, two zoom, a press opens.
  const pointers = new Map();
  let travelled = 0;
  const at = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    pointers.set(event.pointerId, at(event));
    travelled = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) {
      tell(...at(event));
      return;
    }
    const others = [...pointers].filter(([id]) => id !== event.pointerId);
    const now = at(event);
    if (others.length) {
      const other = others[0][1][0];
      const was = Math.max(Math.abs(before[0] - other), 10);
      zoom(was / Math.max(Math.abs(now[0] - other), 10), toBp(other));
    } else {
      travelled += Math.abs(now[0] - before[0]);
      if (travelled > 4) pan((before[0] - now[0]) / width());
    }
    pointers.set(event.pointerId, now);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      const pressed = kind === "pointerup" && pointers.size === 1 && travelled <= 4;
      pointers.delete(event.pointerId);
      if (!pressed) return;
      const [x, y] = at(event);
      const point = pointAt(x, y);
      const where = point < 0 ? toBp(x) : groups[chosen].x[point];
      const found = locusAt(where, NEAR_PX * ((view[1] - view[0]) / width()));
      if (found >= 0) ecgSpark.loci.open(found);
    });
  }
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, toBp(event.offsetX));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const acts = {
      ArrowLeft: () => pan(-0.2),
      ArrowRight: () => pan(0.2),
      "+": () => zoom(0.5),
      "=": () => zoom(0.5),
      "-": () => zoom(2),
      Home: () => show(0, length),
      Enter: () => {
        const found = leads.findIndex((lead) => lead >= view[0] && lead <= view[1]);
        if (found >= 0) ecgSpark.loci.open(found);
      },
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  });

  let named = null;
  /** Where variants with an rsid lie that a locus draws or has in a set: locus, and bp from its lead. */
  function variants() {
    named ??= new Map(loci.flatMap((locus, i) => {
      const away = ecgSpark.unpack(locus.away);
      const drawn = [...ecgSpark.unpack(locus.rs)].flatMap((number, k) =>
        (number ? [[`rs${number >>> 0}`, [i, away[k]]]] : []));
      const held = locus.variants.flatMap(([distance, , name]) =>
        (name ? [[name.toLowerCase(), [i, distance]]] : []));
      return [...drawn, ...held];
    }));
    return named;
  }

  /** Find a locus by a variant in it, a gene or a phenotype; or a place. */
  function search(text) {
    const wanted = text.trim().toLowerCase();
    ecgSpark.loci.listed([]);
    if (!wanted) return;
    const spot = /^(?:chr)?(\w+)\s*[:\s]\s*([\d.,_]+)\s*(m|mb|k|kb)?$/i.exec(wanted);
    const contig = spot && contigs.find((name) => name.toLowerCase() === spot[1]);
    if (contig) {
      const unit = { m: 1e6, k: 1e3 }[spot[3]?.[0]] ?? 1;
      const position = parseFloat(spot[2].replace(/[,_]/g, "")) * unit;
      const where = placeOf(contig, position);
      show(where - 2e6, where + 2e6);
      const found = locusAt(where, ecgSpark.loci.flank);
      status.textContent = found < 0 ? "No locus lies there." : "";
      if (found >= 0) ecgSpark.loci.open(found, false);
      return;
    }
    const names = ({ name, variant, gene, genes, phenotypes }) => [
      [name, variant, gene.replace(/ \(.*/, "")],
      [...genes.map(([one]) => one), ...phenotypes],
    ].map((group) => group.map((one) => one.toLowerCase()));
    const ranks = loci.map((locus) => {
      const [own, near] = names(locus);
      if (own.includes(wanted)) return 0;
      if (near.includes(wanted)) return 1;
      return [...own, ...near].some((one) => one.startsWith(wanted)) ? 2 : Infinity;
    });
    const best = Math.min(...ranks);
    if (best > 0 && variants().has(wanted)) {
      const [i, distance] = variants().get(wanted);
      status.textContent = `${text.trim()} lies in the locus ${loci[i].name}, ${
        Math.abs(distance).toLocaleString("en")} bp from its lead variant.`;
      ecgSpark.loci.open(i, true, distance);
      return;
    }
    const found = ranks.flatMap((rank, i) => (rank === best && best < Infinity ? [i] : []));
    status.textContent = found.length
      ? `${found.length === 1 ? "One locus" : `${found.length} loci`} found.`
      : `No locus here has “${text.trim()}”. All variants are in the study's tables.`;
    if (found.length) ecgSpark.loci.open(found[0]);
    ecgSpark.loci.listed(found);
  }

  const form = document.querySelector("#genome form");
  const methods = make("select", { id: "genome-method" });
  methods.append(...groups.map(({ title }, i) => make("option", { value: i, textContent: title })));
  methods.addEventListener("change", () => {
    chosen = Number(methods.value);
    draw();
  });
  const field = make("input", { type: "search", id: "genome-search", placeholder: "rsID, gene or 3:38.6M" });
  form.append(
    make("label", { htmlFor: methods.id }, "By ", methods),
    make("label", { htmlFor: field.id }, "Find ", field),
    make("button", { textContent: "Find" }),
  );
  for (const [text, label, act] of [
    ["+", "Zoom in", () => zoom(0.5)], ["−", "Zoom out", () => zoom(2)],
    ["whole genome", "", () => show(0, length)]]) {
    const button = make("button", { type: "button", textContent: text });
    if (label) button.ariaLabel = label;
    button.addEventListener("click", act);
    form.append(button);
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search(field.value);
  });
  ecgSpark.genome = {
    search,
    goTo: (i) => {
      const reach = Math.max(2e6, 2 * (loci[i].end - loci[i].start));
      show(leads[i] - reach, leads[i] + reach);
    },
    view: () => view,
  };
  document.querySelector("#genome .live").hidden = false;
  floor = Math.min(...groups.map(({ heights }) => heights.reduce((a, b) => Math.min(a, b), Infinity)));
  if (!Number.isFinite(floor)) floor = 0;
  floor = Math.floor(floor);
  new ResizeObserver(draw).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
