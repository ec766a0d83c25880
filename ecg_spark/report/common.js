// What the scripts of a page share.
"use strict";

const ecgSpark = {};

/** The data that the page holds for a script; null where it has none. */
ecgSpark.data = (id) => {
  const element = document.getElementById(`${id}-data`);
  return element && JSON.parse(element.textContent);
};

/** An array of packed.py, flat. */
ecgSpark.unpack = ({ shape, step, int16, int32, float32 }) => {
  const text = atob(int16 ?? int32 ?? float32);
  const { buffer } = Uint8Array.from(text, (sign) => sign.charCodeAt(0));
  if (int32 !== undefined) return new Int32Array(buffer);
  if (float32 !== undefined) return new Float32Array(buffer);
  const whole = new Int16Array(buffer);
  const width = whole.length / (shape[0] || 1);
  return Float32Array.from(whole, (value, k) => value * step[Math.floor(k / width)]);
};

/** An element with properties and children. */
ecgSpark.make = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

/** A name that leaves room: of a longer one, its beginning and its end. */
ecgSpark.shortened = (name, letters) => {
  const end = Math.floor(letters / 3);
  return name.length > letters ? `${name.slice(0, letters - end - 1)}…${name.slice(-end)}` : name;
};

/** Let the reader keep a file. */
ecgSpark.save = (blob, name) => {
  const link = ecgSpark.make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
