"""How the cohort pages look, on a screen and on paper; one string, so that a page is one file."""

STYLE = """
:root { --ink: #1d2330; --soft: #5c6575; --line: #d9dee7; --ground: #f6f7f9; --brain: #17b3c1;
  --lesion: #ff5a36; --warn: #b45309; --warn-ground: #fff4e0; --bar: #6b86b3; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 24px 28px 60px; color: var(--ink);
  background: #fff; font: 14px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 28px; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 38px 0 10px; padding-bottom: 5px;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 14px; margin: 20px 0 6px; }
p { margin: 6px 0; max-width: 80ch; }
nav { color: var(--soft); margin-bottom: 16px; }
nav a { color: inherit; margin-right: 14px; } nav b { margin-right: 14px; color: var(--ink); }
.sub { color: var(--soft); }
.banner { background: var(--warn-ground); border-left: 4px solid var(--warn); padding: 8px 14px;
  margin: 14px 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 16px 0 4px; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 8px 16px; min-width: 108px; }
.tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); } .tile.warn b { color: var(--warn); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; }
th, td { padding: 4px 18px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.file { color: var(--soft); font-size: 12px; overflow-wrap: anywhere; }
td.n { text-align: right; white-space: nowrap; }
.facts { display: flex; flex-wrap: wrap; gap: 10px 48px; align-items: flex-start; }
.facts p { max-width: 300px; }
.histogram { width: 290px; display: block; }
.histogram rect { fill: var(--bar); } .histogram text { font-size: 10px; fill: var(--soft); }
.histogram line { stroke: var(--line); }
.key i { display: inline-block; width: 18px; border-top: 3px solid; margin: 0 5px 4px 14px; }
.key .brain { border-color: var(--brain); } .key .lesion { border-color: var(--lesion); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 12px; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; overflow: hidden;
  break-inside: avoid; background: #fff; }
figure.flag { border-color: var(--warn); }
.views { display: flex; background: #000; height: 150px; align-items: center;
  justify-content: space-evenly; }
.views svg { height: 146px; max-width: 52%; }
.views text { font: 600 7.5px system-ui, Arial, sans-serif; fill: #ffe08a; text-anchor: middle; }
.views path { fill: none; stroke-width: 1.1px; vector-effect: non-scaling-stroke;
  stroke-linecap: square; }
.brain { stroke: var(--brain); } .lesion { stroke: var(--lesion); }
figcaption { padding: 5px 9px 7px; font-size: 12px; color: var(--soft); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); font-size: 13px; } figcaption em { color: var(--warn);
  font-style: normal; }
details { margin: 4px 0; } summary { cursor: pointer; }
details ul { margin: 4px 0 10px; padding-left: 22px; columns: 2; font-size: 12px;
  overflow-wrap: anywhere; }
@media print {
  body { max-width: none; padding: 0; font-size: 11px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .sheet { grid-template-columns: repeat(4, 1fr); gap: 6px; }
  .views { height: 104px; } .views svg { height: 102px; }
  details::details-content { content-visibility: visible; }
  nav { display: none; } h2, h3 { break-after: avoid; }
}
"""
