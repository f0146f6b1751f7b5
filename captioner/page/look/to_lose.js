// All captions of the page, also those that are filtered away.
export default function ({ data }) {
  const shown = (memory.toLose = new Map(Object.entries(data)));
  return () => {
    if (memory.toLose === shown) memory.toLose = new Map();
  };
}
