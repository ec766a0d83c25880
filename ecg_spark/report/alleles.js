// What a locus does to the heartbeat: the beat of 0, 1 and 2 effect alleles, and the change of one.
"use strict";

(() => {
  if (!ecgSpark.loci || !ecgSpark.heart) return;
  const { make, paper } = ecgSpark;
  const { decoder, factors } = ecgSpark.heart;
  const Z95 = 1.959964;
  const UV = 1000;
  const MOST_TIMES = 20;
  let slopes = null;

  /** The change of the beat for one standard deviation of each factor, about the mean. */
  function slopesOf() {
    slopes ??= factors.map((_, k) => {
      const sds = factors.map((__, i) => (i === k ? 0.5 : 0));
      const [more, less] = [decoder.decode(sds), decoder.decode(sds.map((one) => -one))];
      return more.map((value, i) => value - less[i]);
    });
    return slopes;
  }

  /**
   * The change per effect allele in mV and half the width of its 95 % band, through all factors at
   * once: they are taken as independent, and the decoder as linear over so small a step.
   */
  function changeOf(locus) {
    const by = new Map(locus.effects.map((one) => [one.phenotype, one]));
    const known = factors.map((name) => by.get(name));
    const beta = known.map((one) => (Number.isFinite(one?.beta * one?.se) ? one.beta : 0));
    const se = known.map((one) => (Number.isFinite(one?.beta * one?.se) ? one.se : 0));
    if (!beta.some(Boolean)) return null;
    const [more, less] = [decoder.decode(beta), decoder.decode(beta.map((one) => -one))];
    const change = more.map((value, i) => (value - less[i]) / 2);
    const band = change.map((_, i) => {
      const variance = slopesOf().reduce((sum, slope, k) => sum + (se[k] * slope[i]) ** 2, 0);
      return Z95 * Math.sqrt(variance);
    });
    return { beta, change, band };
  }

  function alleles(locus, wide) {
    const effect = changeOf(locus);
    if (!effect) return null;
    const { beta, change, band } = effect;
    const columns = wide < 560 ? 3 : 4;
    const names = ["none", "one", "two"];
    const beats = paper.picture({ decoder, columns, height: 25, zero: 15,
      curves: ["band-none", "band-two", ...names.map((name) => `allele-${name}`)] });
    const changes = paper.picture({ decoder, columns, height: 16, zero: 8, paper: false,
      curves: ["band", "difference"] });
    const largest = change.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
    const output = make("output");
    const slider = make("input", { type: "range", min: 1, max: MOST_TIMES, step: 1, id: "magnifier" });
    slider.value = Math.min(MOST_TIMES, Math.max(1, Math.round(0.3 / largest)));

    function draw() {
      const times = Number(slider.value);
      output.textContent = `effect × ${times}`;
      [0, 1, 2].forEach((count) => {
        const doses = times * (count - 2 * locus.af);
        const beat = decoder.decode(beta.map((one) => doses * one));
        beats.draw(2 + count, beat, paper.MM_PER_MV);
        if (count === 1) return;
        const half = band.map((one) => Math.abs(doses) * one);
        beats.fill(count / 2, beat.map((one, i) => one - half[i]), beat.map((one, i) => one + half[i]),
          paper.MM_PER_MV);
      });
      beats.say(`Twelve leads with 0, 1 and 2 alleles of ${locus.name}, the effect ${times} times as large as it is.`,
        `effect × ${times}; 25 mm/s, 10 mm/mV`);
    }
    const reach = change.reduce((most, one, i) => Math.max(most, Math.abs(one) + band[i]), 0) * UV;
    const scale = 7 / reach;
    const uv = (values) => values.map((one) => UV * one);
    changes.fill(0, uv(change.map((one, i) => one - band[i])), uv(change.map((one, i) => one + band[i])), scale);
    changes.draw(1, uv(change), scale);
    const bar = paper.round(reach);
    const at = paper.largest(change, change.map(() => 0), decoder);
    changes.say(`Change per effect allele with its 95 % band: largest in ${at.lead}, ${at.ms} ms from R, ${
      at.uv.toFixed(1)} µV.`, `${bar} µV`, bar * scale);
    slider.addEventListener("input", draw);
    draw();
    const save = make("button", { type: "button", textContent: "Save SVG" });
    save.addEventListener("click", () => paper.save(beats.svg, `locus-${locus.name}`, "svg"));
    const key = make("p", { className: "quiet" }, "Alleles ",
      ...names.map((name, count) => make("span", { className: `key-${name}`, textContent: `${count}` }))
        .flatMap((one) => [one, " "]),
      "of the effect allele, decoded from its β on all factors at once, with 95 % bands. Below: the change per allele, largest ",
      `${at.uv.toFixed(0).replace("-", "−")} µV in ${at.lead}, ${at.ms} ms from R.`);
    return make("div", {},
      make("div", { className: "controls" }, make("label", { htmlFor: slider.id }, "Magnifier "), slider,
        output, save),
      make("div", { className: "picture" }, beats.svg), key,
      make("div", { className: "picture" }, changes.svg));
  }
  ecgSpark.loci.parts.push(["What it does to the heartbeat", alleles]);
  ecgSpark.loci.changeOf = changeOf;
})();
