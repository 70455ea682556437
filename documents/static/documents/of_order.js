// The documents on an order's page. Files are dropped anywhere on it, or chosen, and go to the API
// one by one, each with a line that says what came of it. While something is being read the rows are
// asked for again. Whoever runs no scripts has the same forms, which work by themselves.

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 10_000;

const section = document.getElementById("documents");
const upload = document.getElementById("document-upload");
const results = document.getElementById("document-results");
const rows = document.getElementById("document-rows");

let sending = Promise.resolve(); // one file at a time
let left = 0; // files that are not through
let wait = FIRST_WAIT_MS;
let timer = 0;

const token = () => section.querySelector("[name=csrfmiddlewaretoken]").value;

// What a problem of the API says to people.
function words(problem) {
  const told = (problem?.errors ?? []).map(({ field, message }) =>
    [null, "file"].includes(field) ? message : `${field}: ${message}`);
  return told.join(" ") || problem?.detail || "The server gave no answer that can be read.";
}

// A line of the results; returns what ends it.
function say(name, text) {
  const line = document.createElement("li");
  const told = document.createElement("span");
  line.append(Object.assign(document.createElement("b"), { textContent: name }), " ", told);
  told.textContent = text;
  results.append(line);
  const end = (refused, done) => {
    line.querySelector("progress")?.remove();
    line.className = refused ? "refused" : "done";
    told.textContent = refused ?? done;
  };
  return { line, told, end };
}

// Send one file; resolves to the reason why it was refused, or null.
function send(file, type, onProgress) {
  return new Promise((resolve) => {
    const body = new FormData();
    body.append("type", type);
    body.append("file", file, file.name);
    const request = new XMLHttpRequest(); // fetch() tells of no progress
    request.open("POST", upload.dataset.api);
    request.setRequestHeader("X-CSRFToken", token());
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onload = () => resolve(request.status === 201 ? null : words(request.response));
    request.onerror = () => resolve("It could not be sent: the connection broke off.");
    request.send(body);
  });
}

function take(file, type) {
  const { line, told, end } = say(file.name, "waits");
  const turn = sending;
  left += 1;
  sending = turn.then(async () => {
    const bar = Object.assign(document.createElement("progress"), { max: 1, value: 0 });
    bar.setAttribute("aria-label", `Sent of ${file.name}`);
    line.append(" ", bar);
    told.textContent = "is being sent";
    const tooLarge = file.size > Number(upload.dataset.maxBytes) && upload.dataset.tooLarge;
    const refused = tooLarge || (await send(file, type, (part) => { bar.value = part; }));
    end(refused, "uploaded");
    left -= 1;
    if (!refused) await refresh();
  });
}

// Files that were dropped before a type was chosen stay in the form until it is sent.
function start(files) {
  const { type, file: chosen } = upload.elements;
  if (files !== chosen.files) chosen.files = files;
  if (!upload.reportValidity()) return;
  for (const file of files) take(file, type.value);
  chosen.value = "";
}

// Put the rows as they are now in place of those that differ; the others keep their focus.
function show(fresh) {
  let at = rows.firstElementChild;
  for (const row of [...fresh.children]) {
    const known = row.id ? document.getElementById(row.id) : null;
    if (known && known.dataset.state === row.dataset.state) {
      if (known === at) at = at.nextElementSibling;
      else rows.insertBefore(known, at);
      continue;
    }
    const hadFocus = known?.contains(document.activeElement);
    if (known === at) at = at?.nextElementSibling ?? null;
    known?.remove();
    rows.insertBefore(row, at);
    if (hadFocus) row.querySelector("a")?.focus();
  }
  while (at) {
    const gone = at;
    at = at.nextElementSibling;
    gone.remove();
  }
  rows.toggleAttribute("data-waiting", fresh.hasAttribute("data-waiting"));
}

async function refresh() {
  try {
    const answer = await fetch(section.dataset.rows);
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    show(page.getElementById("document-rows"));
  } catch {
    // The connection broke off; the next look may succeed.
  }
  wait = Math.min(wait * 1.5, LONGEST_WAIT_MS);
  lookLater();
}

// While something is being read, less and less often, and not where nobody looks.
function lookLater() {
  clearTimeout(timer);
  if (!rows.hasAttribute("data-waiting")) return;
  timer = setTimeout(() => (document.hidden ? lookLater() : refresh()), wait);
}

async function readAgain(form) {
  const name = form.closest("li").querySelector("b").textContent;
  const { end } = say(name, "");
  try {
    const headers = { "X-CSRFToken": token() };
    const answer = await fetch(form.dataset.api, { method: "POST", headers });
    end(answer.ok ? null : words(await answer.json()), "is to be read again");
  } catch {
    end("The connection broke off.");
  }
  wait = FIRST_WAIT_MS;
  await refresh();
}

function acceptDrops() {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (isOver) => section.classList.toggle("is-over", isOver);
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // else the browser would leave the page for the file
    mark(true);
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false); // out of the window
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(false);
    section.scrollIntoView({ block: "nearest" });
    start(event.dataTransfer.files);
  });
  upload.addEventListener("submit", (event) => {
    event.preventDefault();
    start(upload.elements.file.files);
  });
  addEventListener("beforeunload", (event) => {
    if (left) event.preventDefault();
  });
}

if (section) {
  section.classList.add("is-scripted");
  if (upload) acceptDrops();
  rows.addEventListener("submit", (event) => {
    event.preventDefault();
    readAgain(event.target);
  });
  lookLater();
}
