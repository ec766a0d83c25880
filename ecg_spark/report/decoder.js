// The decoder of the model, as the network does it: factors in, a beat of twelve leads out.
"use strict";

/**
 * A model's decoder. `decode(sds)` gives the beat, 12 x samples in mV, lead after lead, of factors
 * in standard deviations of the people from their mean; a model of several folds their mean.
 */
ecgSpark.decoder = ({ folds, mean, sd, samples, furthest, limb_leads: limb }) => {
  const LEADS = 8;
  const networks = folds.map((fold) =>
    Object.fromEntries(Object.entries(fold).map(([name, packed]) => [name, ecgSpark.unpack(packed)])),
  );
  const size = LEADS * samples;
  const straight = new Float64Array(size);
  const shift = new Float64Array(samples);

  function addBeat(network, z, beat) {
    const { template, amplitudes, bend_start: start, bends, knots } = network;
    straight.set(template);
    z.forEach((value, k) => {
      if (!value) return;
      const from = k * size;
      for (let i = 0; i < size; i++) straight[i] += value * amplitudes[from + i];
    });
    shift.fill(0);
    for (let knot = 0; knot < start.length; knot++) {
      let bend = start[knot];
      for (let k = 0; k < z.length; k++) bend += bends[knot * z.length + k] * z[k];
      const moved = furthest * Math.tanh(bend / 3);
      for (let t = 0; t < samples; t++) shift[t] += moved * knots[knot * samples + t];
    }
    for (let t = 0; t < samples; t++) {
      const at = Math.min(Math.max(t + shift[t], 0), samples - 1.01);
      const left = Math.floor(at);
      const part = at - left;
      for (let lead = 0; lead < LEADS; lead++) {
        const i = lead * samples + left;
        beat[lead * samples + t] += (1 - part) * straight[i] + part * straight[i + 1];
      }
    }
  }

  /** The limb leads, which come first, are sums of I and II with the weights of `limb_leads`. */
  function twelveLeads(beat) {
    const all = new Float64Array(12 * samples);
    for (let t = 0; t < samples; t++) {
      const [one, two] = [beat[t], beat[samples + t]];
      limb.forEach(([a, b], lead) => { all[lead * samples + t] = a * one + b * two; });
    }
    all.set(beat.subarray(2 * samples), limb.length * samples);
    return all;
  }

  function decode(sds) {
    const z = mean.map((middle, k) => middle + sd[k] * sds[k]);
    const beat = new Float64Array(size);
    for (const network of networks) addBeat(network, z, beat);
    for (let i = 0; i < size; i++) beat[i] /= networks.length;
    return twelveLeads(beat);
  }
  return { decode };
};
