// The search page: the field's terms lead to their sections, and each hit quotes its passage.
const companionPages = {};

function companionPassages(page, passages) {
  companionPages[page] = passages;
}

function companionSearch(glossary, chapters) {
  const stemmer = new Stemmer();
  const stems = (text) => splitQuery(text.toLowerCase().replace(/β/g, "beta "))
    .map((word) => stemmer.stemWord(word));
  const spread = (text) => ` ${stems(text).join(" ")} `;
  const terms = glossary.flatMap(([names, places]) => names.map((name) => [spread(name), places]));

  // A page's title in words; the index has it with the mark-up of its number.
  const titleOf = (page) => {
    const title = Search._index.titles[Search._index.docnames.indexOf(page)];
    return new DOMParser().parseFromString(title, "text/html").body.textContent;
  };

  // What a reader may call a page: its title, and the file of a page of record, as "results".
  const namesOf = (page) => [titleOf(page).replace(/^\d+\. /, "")]
    .concat(chapters.includes(page) ? [] : page.split("/").pop()).map(spread);

  // The passages of all pages, once; as scripts they come from a disk as from a server.
  let loaded;
  const load = () => (loaded ??= Promise.all(Search._index.docnames.map((page) =>
    new Promise((done) => {
      const script = document.createElement("script");
      script.src = `_static/passages/${page}.js`;
      script.onload = script.onerror = done;
      document.head.append(script);
    }))));

  // How many of the words a passage holds.
  const held = ([, , text], words) => {
    const own = new Set(stems(text));
    return [...words].filter((word) => own.has(word)).length;
  };

  // Places of the terms that a test accepts, those with the longest names first.
  const placesWhere = (test) => terms.filter(([name]) => test(name))
    .sort(([one], [other]) => other.length - one.length).flatMap(([, places]) => places);

  // What Sphinx finds: headings, then pages by how many of their passages hold all the words.
  const bySphinx = (query, words) => {
    const results = Search._performSearch(...Search._parseQuery(query)).reverse();
    const headings = results.filter(([, title, anchor, object]) =>
      anchor && !object && title.includes(" > "))
      .map(([page, title, anchor]) => [page, anchor.slice(1), title.split(" > ").pop()]);
    const full = (page) => (companionPages[page] || [])
      .filter((passage) => held(passage, words) === words.size).length;
    const pages = [...new Set(results.map(([page]) => page))].map((page) => [page, full(page)])
      .sort(([, one], [, other]) => other - one).map(([page]) => [page, null, ""]);
    return [headings, pages];
  };

  // All hits, the best first: [page, anchor, heading]; the anchor is null where only the text
  // of a page is known to hold the words. Chapters come before pages of record, unless the
  // query is the very title of one.
  Search.find = async (query) => {
    await load();
    const asked = spread(query);
    const [headings, pages] = bySphinx(query, new Set(stems(query)));
    const ofChapters = (hits) => hits.filter(([page]) => chapters.includes(page));
    const all = [
      ...Search._index.docnames.filter((page) => namesOf(page).includes(asked))
        .map((page) => [page, "", ""]),
      ...placesWhere((name) => name === asked),
      ...ofChapters(headings),
      ...placesWhere((name) => asked.includes(name)),
      ...placesWhere((name) => name.startsWith(asked.trimEnd())),
      ...ofChapters(pages),
      ...headings,
      ...pages,
    ];
    return all.filter(([page, anchor], i) => !all.slice(0, i).some(([other, place]) =>
      other === page && (anchor === null || place === anchor)));
  };

  // The passage of a section, or of a page, that holds most of the words; the longer of two.
  const passageOf = ([page, anchor], words) => {
    const worth = (passage) => held(passage, words) + Math.min(passage[2].length, 400) / 1000;
    return (companionPages[page] || []).filter(([at]) => !anchor || at === anchor)
      .reduce((best, one) => (!best || worth(one) > worth(best) ? one : best), null);
  };

  // The part of a text around the first of the words, each of them marked.
  const excerpt = (text, words) => {
    const isHit = (word) => words.has(stemmer.stemWord(word.toLowerCase()));
    const parts = text.split(/([\p{Letter}\p{Number}_]+)/u);
    const first = parts.findIndex(isHit);
    const at = first < 0 ? 0 : parts.slice(0, first).join("").length;
    const begin = at < 120 ? 0 : text.lastIndexOf(" ", at - 90) + 1;
    const end = text.length < begin + 280 ? text.length : text.lastIndexOf(" ", begin + 260);
    const quote = document.createElement("p");
    quote.className = "context";
    quote.append(begin ? "… " : "");
    for (const part of text.slice(begin, end).split(/([\p{Letter}\p{Number}_]+)/u)) {
      if (isHit(part)) quote.appendChild(document.createElement("mark")).append(part);
      else quote.append(part);
    }
    quote.append(end < text.length ? " …" : "");
    return quote;
  };

  const show = (hit, words) => {
    const passage = passageOf(hit, words);
    const [anchor, heading] = hit[1] === null && passage ? passage : hit.slice(1);
    const link = document.createElement("a");
    link.href = `${hit[0]}.html${anchor ? `#${anchor}` : ""}`;
    link.textContent = titleOf(hit[0]) + (heading ? ` › ${heading}` : "");
    const item = Search.output.appendChild(document.createElement("li"));
    item.append(link, ...(passage ? [excerpt(passage[2], words)] : []));
  };

  Search.query = async (query) => {
    const words = new Set(stems(query));
    (await Search.find(query)).forEach((hit) => show(hit, words));
    _finishSearch(Search.output.children.length);
  };
}
