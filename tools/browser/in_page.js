// What axe.py asks inside a page; axe-core is there already.
window.inPage = {
  // axe's verdicts: each rule that is broken, or that it could not decide, with its first node.
  async rules() {
    const found = await axe.run({
      resultTypes: ["violations", "incomplete"], iframes: false, preload: false,
    });
    const why = (rule, node) => [...node.any, ...node.all, ...node.none, {message: rule.help}][0].message;
    const short = rule => ({
      rule: rule.id, impact: rule.impact || "", count: rule.nodes.length,
      first: rule.nodes[0].html, why: why(rule, rule.nodes[0]),
    });
    return {violations: found.violations.map(short), incomplete: found.incomplete.map(short)};
  },

  // The width of a page that is wider than its window, and the innermost thing that makes it so:
  // it reaches beyond the window and stands in no box that scrolls or cuts. Otherwise null.
  wider() {
    const width = Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
    if (width <= innerWidth) return null;
    const held = element => {
      for (let box = element.parentElement; box && box !== document.body; box = box.parentElement)
        if (getComputedStyle(box).overflowX !== "visible") return true;
      return false;
    };
    const over = [...document.body.querySelectorAll("*")]
      .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5 && !held(e));
    return {width, by: over.length ? over.at(-1).outerHTML : ""};
  },

  // Hosts that a page would greet before it asks them for anything.
  greeted: () => [...document.querySelectorAll("link[rel~=preconnect],link[rel~=dns-prefetch]")].map(l => l.href),

  open: () => document.querySelectorAll("details").forEach(d => d.open = true),
  folded: () => document.querySelectorAll("details:not([open])").length,
};
0;
