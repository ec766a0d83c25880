// What is known of an opened locus beside its tests: credible sets, and tables of further findings.
"use strict";

(() => {
  if (!ecgSpark.loci) return;
  const { make } = ecgSpark;
  const { parts, tables, RINGS } = ecgSpark.loci;

  /** A variant of a set in words, by its rsid or its place, with the probability that it acts. */
  function variantOf(locus, [number, pip]) {
    const [distance, change, name, consequence] = locus.variants[number];
    const place = `${locus.contig}:${(locus.position + distance).toLocaleString("en")} ${change}`;
    const words = [name || place, `PIP ${pip.toFixed(2)}`, ...(consequence ? [consequence] : [])];
    return make("span", { title: place, textContent: words.join(", ") });
  }

  function membersOf(locus, { members, n }) {
    const [first, ...others] = members.map((member) => variantOf(locus, member));
    if (!others.length) return first;
    const left = n - members.length;
    const list = make("ul", {}, ...others.map((one) => make("li", {}, one)));
    if (left > 0) list.append(make("li", { className: "quiet", textContent: `and ${left} less likely` }));
    return make("details", {}, make("summary", {}, first, ` and ${n - 1} more`), list);
  }

  /** The credible sets, each with a button that marks its variants in the picture of the region. */
  function sets(locus) {
    if (!locus.sets.length) return null;
    const buttons = locus.sets.map((set, i) => {
      const button = make("button", { type: "button" });
      button.ariaLabel = `Mark signal ${set.signal} of ${set.phenotype} in the region`;
      button.addEventListener("click", () => {
        locus.marked = locus.marked.includes(i)
          ? locus.marked.filter((other) => other !== i) : [...locus.marked, i];
        show();
      });
      return button;
    });
    function show() {
      buttons.forEach((button, i) => {
        const place = locus.marked.indexOf(i);
        button.className = place < 0 ? "mark" : `mark key-ring-${place % RINGS}`;
        button.textContent = place < 0 ? "mark" : "marked";
        button.setAttribute("aria-pressed", place >= 0);
      });
      locus.drawMarks();
    }
    const rows = locus.sets.map((set, i) => [
      set.phenotype.replaceAll("_", " "), buttons[i], membersOf(locus, set), set.n, set.signal, set.log10_bf,
    ]);
    const table = ecgSpark.tableOf(["phenotype", "in the region", "the likeliest", "variants", "signal", "log₁₀ BF"],
      rows, `Credible sets of ${locus.name}`);
    show();
    const left = locus.sets_left ? ` ${locus.sets_left} weaker sets are in the table signals.` : "";
    return make("div", {}, table, make("p", { className: "quiet",
      textContent: `Sets that hold the cause of a signal with a probability of 95 %, by SuSiE. PIP: the probability that a variant acts on the phenotype. Rings in the region: the variants of marked sets that were tested.${left}` }));
  }
  parts.splice(1, 0, ["Credible sets", sets]);

  for (const { key, title, heads, note } of tables) {
    parts.push([title, (locus) => locus[key].length
      ? make("div", {}, ecgSpark.tableOf(heads, locus[key], `${title}: ${locus.name}`),
        make("p", { className: "quiet", textContent: note }))
      : null]);
  }
})();
