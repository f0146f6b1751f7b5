// All captions at once, a line for each photo.
export default function ({ data, parentElement }) {
  const status = parentElement.querySelector("[role=status]");
  parentElement.querySelector("button").onclick = async () => {
    if (await copyText(data.text, status, "Copied.")) takeAll();
  };
}
