"""What does the page look like? Its style and its few lines of script, both inline."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1d21; --soft: #62666e; --paper: #fff; --card: #f4f5f7;
  --rule: #d9dce1; --accent: #1f5fbf; --warn: #8a4b00; --warn-paper: #fff1dc;
  --c0: #1f5fbf; --c1: #c2410c; --c2: #15803d; --c3: #7e22ce; --c4: #0e7490; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ee; --soft: #9ba1ac; --paper: #14161a;
  --card: #1d2026; --rule: #343942; --accent: #7db0ff; --warn: #ffc680; --warn-paper: #3a2a10;
  --c0: #7db0ff; --c1: #ff9d6b; --c2: #6fd38d; --c3: #cf9bff; --c4: #63d3ea; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.1rem; margin: .2rem 0; color: var(--soft); font-weight: 600; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.answer { font-size: 1.35rem; line-height: 1.35; margin: .5rem 0 1rem; font-weight: 600; }
.mark { background: var(--warn-paper); color: var(--warn); padding: .4rem .7rem; margin: .4rem 0;
  border-radius: .3rem; }
.soft { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem .2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); overflow-wrap: normal; }
.sort th { white-space: nowrap; } .sort td { white-space: nowrap; }
.sort th { cursor: pointer; } .sort th:hover { color: var(--accent); }
td.n, th.n { text-align: right; } td.i { white-space: nowrap; } tr.best td { font-weight: 600; }
.matrix td, .matrix th { border: 1px solid var(--rule); padding: .3rem .6rem; }
.matrix td.right { background: var(--card); font-weight: 600; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .8rem; }
figure { margin: 0; background: var(--card); border-radius: .4rem; padding: .5rem .6rem; }
figcaption { font-size: .85rem; } svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.axis { stroke: var(--rule); } .curve { fill: none; stroke-width: 2; }
.dot { fill: var(--c0); fill-opacity: .65; } .dot.top { fill: var(--c1); fill-opacity: 1; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); }
.s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); }
.k0 { color: var(--c0); } .k1 { color: var(--c1); } .k2 { color: var(--c2); }
.k3 { color: var(--c3); } .k4 { color: var(--c4); } .key span { margin-right: 1rem; }
pre { background: var(--card); padding: .6rem; overflow-x: auto; font-size: .82rem; }
summary { cursor: pointer; }
@media print { details > * { display: block; } body { max-width: none; } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sort")) {
  const body = table.tBodies[0], key = (row, i) => {
    const cell = row.cells[i], v = cell.dataset.v ?? cell.textContent;
    return v === "" || v === "\\u2013" ? null : isNaN(v) ? v : +v;
  };
  [...table.tHead.rows[0].cells].forEach((head, i) => head.onclick = () => {
    const up = head.dataset.up !== "1"; head.dataset.up = up ? "1" : "0";
    [...body.rows].sort((a, b) => {
      const x = key(a, i), y = key(b, i);
      if (x === null || y === null) return (x === null) - (y === null);  // empty ones last
      const less = typeof x === typeof y ? (x > y) - (x < y) : String(x).localeCompare(String(y));
      return up ? less : -less;
    }).forEach(row => body.append(row));
  });
}
"""
