"use strict";
// Annotates, corrects and saves a text. Places are code points, as everywhere in the API.
(() => {
  const $ = (id) => document.getElementById(id);
  // The server's HTML is escaped there; this is the only place that makes elements of a string.
  const trusted = window.trustedTypes
    ? trustedTypes.createPolicy("spacy-eat", { createHTML: (html) => html })
    : { createHTML: (html) => html };
  let shown = null; // { text, lang, sentences: [{ data, key, element }] }
  let chosen = null; // { sentence, entity, start, end }
  let running = null;

  function tell(message, wrong = false) {
    $("state").textContent = message;
    $("state").classList.toggle("wrong", wrong);
  }

  async function ask(path, body, signal) {
    const headers = { "Content-Type": "application/json" };
    if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
    const options = body ? { method: "POST", body: JSON.stringify(body) } : {};
    const answer = await fetch(path, { ...options, headers, signal });
    if (answer.status === 401) $("token-row").hidden = false;
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || answer.statusText);
    return answer;
  }

  function attempt(action) {
    return async (...args) => {
      try {
        await action(...args);
      } catch (error) {
        if (error.name !== "AbortError") tell(error.message, true);
      }
    };
  }

  // --- Pipelines ---

  const look = attempt(async () => {
    const { pipelines } = await (await ask("pipelines")).json();
    const before = $("pipeline").value;
    $("pipeline").replaceChildren(...pipelines.map((p) => {
      const name = p.language ? `${p.name} (${p.language})` : p.name;
      return new Option(p.state === "ready" ? name : `${name}: ${p.state}`, p.name);
    }));
    if (before) $("pipeline").value = before;
    $("labels").replaceChildren(...[...new Set(pipelines.flatMap((p) => p.labels))].map((l) => new Option(l)));
    const failed = pipelines.filter((p) => p.state === "failed");
    tell(failed.map((p) => `${p.name}: ${p.reason}`).join("\n"), true);
    if (pipelines.some((p) => p.state === "loading")) setTimeout(look, 1500);
  });

  // --- Annotation ---

  function element(html) {
    const template = document.createElement("template");
    template.innerHTML = trusted.createHTML(html);
    const card = template.content.firstElementChild;
    for (const mark of card.querySelectorAll(".eat-source .eat-mark")) {
      mark.tabIndex = 0;
      mark.setAttribute("role", "button");
      // A button has no links in it: the same number leads from the English.
      mark.querySelectorAll("a[href]").forEach((link) => link.removeAttribute("href"));
    }
    return card;
  }

  async function* events(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const [, name, data] = block.match(/^event: (.*)\ndata: (.*)$/);
        yield [name, JSON.parse(data)];
      }
    }
  }

  const annotate = attempt(async (event) => {
    event.preventDefault();
    running?.abort();
    const own = (running = new AbortController());
    const text = $("text").value;
    close();
    shown = { text, lang: "", sentences: [] };
    $("view").replaceChildren();
    $("save").hidden = $("hint").hidden = true;
    $("stop").hidden = false;
    tell("Waiting");
    try {
      const given = { text, pipeline: $("pipeline").value, html: true };
      let total = 0;
      for await (const [name, data] of events(await ask("annotate/stream", given, own.signal))) {
        if (name === "start") [total, shown.lang] = [data.sentences, data.lang];
        else if (name === "waiting") tell(`Waiting: ${data.before} sentences before the next one`);
        else if (name === "error") throw new Error(data.detail);
        else if (name === "done") {
          shown.lang = data.lang;
          tell(`${shown.sentences.length} sentences in ${data.seconds.toFixed(1)} seconds`);
        } else if (name === "sentence") {
          const card = element(data.html);
          $("view").append(card);
          $("hint").hidden = false;
          shown.sentences.push({ data: data.sentence, key: String(shown.sentences.length), element: card });
          tell(`${shown.sentences.length} of ${total} sentences`);
        }
      }
    } finally {
      if (running === own) {
        running = null;
        $("stop").hidden = true;
        $("save").hidden = !shown.sentences.length;
      }
    }
  });

  // --- Correction ---

  const sentenceOf = (node) => shown?.sentences.find((s) => s.element.contains(node));
  const points = (text) => [...text].length;

  // How many characters of the source stand before a place in the page: tags do not count, a character
  // that cannot be seen is an empty element.
  function before(source, node, offset) {
    const range = document.createRange();
    range.setStart(source, 0);
    range.setEnd(node, offset);
    const part = range.cloneContents();
    for (const tag of part.querySelectorAll(".eat-tag")) tag.remove();
    return points(part.textContent) + part.querySelectorAll(".eat-char").length;
  }

  function open(sentence, entity, start, end) {
    chosen = { sentence, entity, start, end };
    const from = sentence.data.start;
    $("words").textContent = [...sentence.data.text].slice(start - from, end - from).join("");
    $("label").value = entity ? entity.label : "";
    $("delete").hidden = !entity;
    $("edit").hidden = false;
    sentence.element.before($("edit"));
    $("label").focus();
  }

  function close() {
    chosen = null;
    $("edit").hidden = true;
    $("view").before($("edit"));
  }

  function openMark(mark) {
    const sentence = sentenceOf(mark);
    const entity = sentence?.data.entities[Number(mark.dataset.m)];
    if (entity) open(sentence, entity, entity.start, entity.end);
  }

  function openSelection() {
    const selection = getSelection();
    if (selection.isCollapsed || !selection.rangeCount) return false;
    const range = selection.getRangeAt(0);
    const sentence = sentenceOf(range.commonAncestorContainer);
    const source = sentence?.element.querySelector(".eat-source");
    if (!source?.contains(range.commonAncestorContainer)) return false;
    const offset = sentence.data.start;
    const start = offset + before(source, range.startContainer, range.startOffset);
    const end = offset + before(source, range.endContainer, range.endOffset);
    if (start >= end) return false;
    const entity = sentence.data.entities.find((e) => e.chosen && e.start !== null && e.start < end && start < e.end);
    open(sentence, entity, start, end);
    return true;
  }

  const show = attempt(async (sentence) => {
    const given = { sentence: sentence.data, lang: shown.lang, key: sentence.key };
    const asked = (sentence.asked = {});
    const card = element((await (await ask("render", given)).json()).html);
    if (sentence.asked !== asked) return; // it was corrected again meanwhile
    sentence.element.replaceWith(card);
    sentence.element = card;
  });

  const change = (label) => {
    const { sentence, entity, start, end } = chosen;
    const same = entity && entity.start === start && entity.end === end;
    // Entities do not overlap: those that the new one meets give way.
    const kept = sentence.data.entities.filter(
      (e) => e !== entity && (label === null || !e.chosen || e.start === null || e.end <= start || end <= e.start),
    );
    if (label !== null) {
      const { english_start = null, english_end = null } = entity || {};
      const moved = { start, end, label, english_start, english_end };
      kept.push(same && label === entity.label ? entity : { ...moved, score: null, status: "manual", chosen: true });
    }
    sentence.data.entities = kept.sort((a, b) => (a.start ?? Infinity) - (b.start ?? Infinity) || 0);
    close();
    show(sentence);
  };

  // --- Files ---

  const save = attempt(async (format) => {
    const documents = [{ text: shown.text, lang: shown.lang, sentences: shown.sentences.map((s) => s.data) }];
    const answer = await ask("export", { format, documents });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `annotated.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });

  $("ask").addEventListener("submit", annotate);
  $("stop").addEventListener("click", () => running?.abort());
  $("token").addEventListener("change", look);
  $("edit").addEventListener("submit", (event) => {
    event.preventDefault();
    change($("label").value.trim());
  });
  $("delete").addEventListener("click", () => change(null));
  $("cancel").addEventListener("click", close);
  $("view").addEventListener("mouseup", () => setTimeout(openSelection));
  $("view").addEventListener("click", (event) => {
    const mark = event.target.closest(".eat-source .eat-mark");
    if (mark && getSelection().isCollapsed && !event.target.closest("a")) openMark(mark);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen) close();
    if (event.key !== "Enter" || !event.target.closest?.("#view") || event.target.closest("#edit, a, summary")) return;
    const mark = event.target.closest(".eat-source .eat-mark");
    if (mark) {
      event.preventDefault(); // else it would submit the form that takes the focus
      openMark(mark);
    }
  });
  for (const button of document.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => save(button.dataset.format));
  }
  $("text").addEventListener("dragover", (event) => {
    event.preventDefault();
    $("text").classList.add("drop");
  });
  $("text").addEventListener("dragleave", () => $("text").classList.remove("drop"));
  $("text").addEventListener("drop", async (event) => {
    const [file] = event.dataTransfer.files;
    $("text").classList.remove("drop");
    if (!file) return;
    event.preventDefault();
    $("text").value = await file.text();
  });
  look();
})();
