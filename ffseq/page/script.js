"use strict";
(() => {
  // --- light and dark -------------------------------------------------------------------------------------------------
  const themes = ["automatic", "light", "dark"];
  const button = document.getElementById("theme");
  const keep = (theme) => { try { localStorage.setItem("ffseq-theme", theme); } catch { /* a page without storage */ } };
  const kept = () => { try { return localStorage.getItem("ffseq-theme"); } catch { return null; } };
  const wear = (theme) => {
    if (theme === "automatic") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `theme: ${theme}`;
  };
  let theme = themes.includes(kept()) ? kept() : "automatic";
  wear(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    wear(theme);
    keep(theme);
  });

  // --- the passage ----------------------------------------------------------------------------------------------------
  const data = JSON.parse(document.getElementById("data").textContent);
  const passage = document.getElementById("passage");
  if (!data || !passage) return;
  const told = document.getElementById("told");
  const lead = passage.querySelector(".before").textContent;
  const CONTEXT = 18; // characters shown before the one that is told about
  const cells = [...passage.querySelectorAll(".c")];
  const { names, real, views, edges, top, shares, candidates } = data;
  let view = 0, at = 0, pinned = false;

  const element = (tag, kind, ...inside) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    made.append(...inside);
    return made;
  };
  const bits = (which, i) => views[which].bits[i] / 100;
  const percent = (p) => (p < 0.0005 ? "<0.1%" : `${(100 * p).toFixed(1)}%`);
  const seen = (i) => cells[i].textContent;
  const bin = (b) => edges.filter((edge) => b >= edge).length;

  /** The candidates told at a position: [rank, name, probability, whether it is the real one]. */
  const listed = (i) => {
    const some = [];
    for (let k = 0; k < top; k++) {
      const symbol = views[view].top[i * top + k];
      some.push([k + 1, names[symbol], views[view].p[i * top + k] / shares, symbol === real[i]]);
    }
    if (!some.some((one) => one[3])) some.push([views[view].rank[i], names[real[i]], 2 ** -bits(view, i), true]);
    return some;
  };

  const row = ([rank, name, p, isReal], k) => {
    const share = element("i");
    share.style.width = `${100 * p}%`;
    const called = element("span", "name", element("bdi", "", name));
    called.title = name;
    const kind = (isReal ? "real" : "") + (k === top ? " apart" : "");
    return element("li", kind.trim(), element("span", "rank", String(rank)), called, element("span", "bar", share),
      element("span", "share", percent(p)));
  };

  const tell = () => {
    let before = "";
    let i = at;
    while (i > 0 && !data.breaks.includes(i) && before.length < CONTEXT) before = seen(--i) + before;
    if (i === 0) before = lead + before;
    const lines = listed(at);
    const p = lines.find((one) => one[3])[2];
    const rank = views[view].rank[at];
    told.replaceChildren(
      element("p", "where", element("span", "", before.replaceAll("\n", "").slice(-CONTEXT)),
        element("b", "", names[real[at]])),
      element("p", "said", element("b", "", `${bits(view, at).toFixed(2)} bits`),
        ` · ${percent(p)} · rank ${rank} of ${candidates}`),
      element("ol", "", ...lines.map(row)));
    if (views.length > 1) {
      told.append(element("table", "", element("tbody", "", ...views.map((one, which) =>
        element("tr", which === view ? "own" : "", element("th", "", one.name),
          element("td", "", `${bits(which, at).toFixed(2)} bits`), element("td", "", `rank ${one.rank[at]}`))))));
    }
    const best = lines.slice(0, 3).map((one) => `${one[1]} ${percent(one[2])}`).join(", ");
    cells[at].setAttribute("aria-label",
      `${names[real[at]]}, ${bits(view, at).toFixed(2)} bits, rank ${rank}. Most probable: ${best}`);
  };

  const select = (i, follow) => {
    cells[at].classList.remove("at");
    cells[at].setAttribute("aria-selected", "false");
    at = Math.min(Math.max(i, 0), cells.length - 1);
    cells[at].classList.add("at");
    cells[at].setAttribute("aria-selected", "true");
    passage.setAttribute("aria-activedescendant", cells[at].id);
    if (follow) cells[at].scrollIntoView({ block: "nearest" });
    tell();
  };

  const show = (which) => {
    view = which;
    cells.forEach((cell, i) => {
      const marked = cell.classList.contains("at") ? " at" : "";
      cell.className = `c s${bin(bits(view, i))}${marked}`;
    });
    tell();
  };

  /** The cell a line above (-1) or below (1), nearest to being straight above or below. */
  const vertical = (way) => {
    const here = cells[at].getBoundingClientRect();
    let line = null, best = at, distance = Infinity;
    for (let i = at + way; i >= 0 && i < cells.length; i += way) {
      const there = cells[i].getBoundingClientRect();
      if (Math.abs(there.top - here.top) < 4) continue;
      line ??= there.top;
      if (Math.abs(there.top - line) > 4) break;
      if (Math.abs(there.left - here.left) < distance) [best, distance] = [i, Math.abs(there.left - here.left)];
    }
    return best;
  };

  passage.tabIndex = 0;
  passage.setAttribute("role", "listbox");
  passage.setAttribute("aria-label", "Held-out passage, one option for each symbol");
  cells.forEach((cell, i) => {
    cell.id = `c${i}`;
    cell.setAttribute("role", "option");
    cell.setAttribute("aria-selected", "false");
  });
  const number = (event) => cells.indexOf(event.target.closest(".c"));
  passage.addEventListener("pointerover", (event) => {
    const i = number(event);
    if (i >= 0 && event.pointerType !== "touch" && !pinned) select(i);
  });
  passage.addEventListener("click", (event) => {
    const i = number(event);
    if (i < 0) return;
    pinned = !(pinned && i === at);
    select(i);
  });
  passage.addEventListener("keydown", (event) => {
    const to = {
      ArrowRight: () => at + 1, ArrowLeft: () => at - 1, ArrowDown: () => vertical(1), ArrowUp: () => vertical(-1),
      Home: () => 0, End: () => cells.length - 1,
    }[event.key];
    if (event.key === "Escape") pinned = false;
    if (!to || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    pinned = true;
    select(to(), true);
  });
  document.querySelectorAll("input[name=view]").forEach((input) =>
    input.addEventListener("change", () => show(Number(input.value))));
  told.hidden = false;
  document.querySelectorAll(".views, .help").forEach((one) => { one.hidden = false; });
  const chosen = document.querySelector("input[name=view]:checked");
  select(0);
  show(chosen ? Number(chosen.value) : 0);
})();
