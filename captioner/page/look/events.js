// Photos pasted or dropped anywhere on the page, and a question before captions are forgotten.
const PHOTO = "[data-testid=stFileChip]";
// Photos on their way to the server, and what stands on the page until their captions are there.
const WORK = "[data-testid=stFileChipIconSpinner], [data-testid=stSpinner], .waiting";

export default function () {
  const input = () => document.querySelector("[data-testid=stFileUploaderDropzoneInput]");
  const inDropzone = (event) => event.target.closest?.("[data-testid=stFileUploaderDropzone]");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const root = document.documentElement;
  const listening = new AbortController();
  const listen = (target, kind, act) => target.addEventListener(kind, act, { signal: listening.signal });

  // As if they had been chosen in the uploader.
  const upload = (files) => {
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    input().files = transfer.files;
    input().dispatchEvent(new Event("change", { bubbles: true }));
  };
  listen(document, "paste", (event) => {
    const files = event.clipboardData?.files ?? [];
    if (!files.length || !input()) return;
    event.preventDefault();
    upload(files);
  });
  listen(document, "dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    root.toggleAttribute("data-dropping", true);
  });
  listen(document, "dragleave", (event) => {
    if (!event.relatedTarget) root.toggleAttribute("data-dropping", false);
  });
  listen(document, "drop", (event) => {
    root.toggleAttribute("data-dropping", false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    if (!inDropzone(event) && input()) upload(event.dataTransfer.files);
  });
  listen(document, "click", (event) => {
    if (event.target.closest?.("[data-testid=stDownloadButton] button")) takeAll();
  });
  listen(window, "beforeunload", (event) => {
    const waits = document.querySelector(PHOTO) && document.querySelector(WORK);
    const untaken = [...memory.toLose].some(([photo, caption]) => memory.taken.get(photo) !== caption);
    if (waits || untaken) event.preventDefault();
  });
  return () => listening.abort();
}
