extension HTMLPage {
  /// Screen and paper. Colours of text and lines keep a contrast of at least 4.5 to 1.
  static let style = """

    :root { --ink: #1a1f2b; --dim: #5a6372; --rule: #d9dde4; --soft: #f4f6f9; --bar: #3b7dd8;
      --low: #c2410c; --alert: #fff4ec; }
    * { box-sizing: border-box; }
    body { margin: 0 auto; padding: 36px 40px 60px; max-width: 1180px; color: var(--ink); background: #fff;
      font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
    header { border-bottom: 2px solid var(--ink); margin-bottom: 24px; }
    h1 { font-size: 27px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
    h2 { font-size: 18px; margin: 38px 0 10px; }
    h3 { font-size: 14px; margin: 0 0 6px; overflow-wrap: anywhere; }
    p.sub, p.note, figcaption { color: var(--dim); margin: 0 0 14px; }
    p.note, figcaption { font-size: 13px; }
    .notice { border-left: 4px solid var(--low); background: var(--alert); padding: 10px 14px; margin: 0 0 22px; }
    .tiles { display: flex; flex-wrap: wrap; gap: 14px; }
    .tile { flex: 1 1 150px; background: var(--soft); border-radius: 8px; padding: 14px 18px; }
    .tile b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
    .tile span { color: var(--dim); font-size: 13px; }
    .scroll { overflow-x: auto; }
    table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
    th { text-align: right; font-weight: 600; color: var(--dim); font-size: 12.5px; vertical-align: bottom; }
    th, td { padding: 6px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
    td { text-align: right; }
    th:first-child { text-align: left; padding-left: 2px; white-space: normal; overflow-wrap: anywhere; min-width: 130px; }
    th[scope=row] { font-size: inherit; font-weight: inherit; color: inherit; vertical-align: baseline; }
    tr.absent { color: var(--dim); } td.wide { white-space: normal; min-width: 120px; }
    tr.total td, tr.total th { border-top: 2px solid var(--ink); font-weight: 600; }
    td small, th small { color: var(--dim); font-size: 12px; }
    i.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 8px;
      box-shadow: inset 0 0 0 1px rgba(0, 0, 0, 0.18); }
    td.key { color: var(--dim); }
    .cases td, .cases tbody th { padding: 4px 8px; min-width: 74px; } .cases th:first-child { padding-left: 2px; }
    .cases td div { height: 5px; border-radius: 2px; background: var(--rule); margin-top: 2px; overflow: hidden; }
    .cases td div span { display: block; height: 5px; }
    .cases thead th { max-width: 110px; white-space: normal; overflow-wrap: anywhere; }
    .low { color: var(--low); font-weight: 600; }
    svg { display: block; width: 100%; height: auto; max-width: 1100px; }
    svg text { font: 12.5px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: var(--ink); }
    svg text.dim { fill: var(--dim); } svg text.title { font-weight: 600; } svg + svg { margin-top: 20px; }
    figure { margin: 0 0 26px; break-inside: avoid; }
    figure img { width: 100%; height: auto; border-radius: 6px; display: block; background: #111318; }
    figcaption { margin: 6px 0 0; }
    .pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 18px; align-items: start; }
    .pictures figure { margin: 0; } .pictures img { width: auto; max-width: 100%; border-radius: 3px; }
    .legend { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13px; margin-bottom: 8px; }
    .legend b { min-width: 78px; } .legend + figure { margin-top: 16px; }
    .settings td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
    .settings th { color: var(--dim); width: 210px; vertical-align: top; }
    footer { border-top: 1px solid var(--rule); margin-top: 38px; padding-top: 10px; color: var(--dim); font-size: 13px; }
    ul { margin: 0; padding-left: 20px; overflow-wrap: anywhere; }
    @page { margin: 14mm; }
    @media print {
      body { padding: 0; max-width: none; font-size: 11px; } h1 { font-size: 20px; } h2 { font-size: 14px; } .tile b { font-size: 17px; }
      p.note, figcaption, footer, .legend, .tile span { font-size: 9.5px; } td small, th small { font-size: 8.5px; }
      .tile { padding: 8px 12px; } .notice { padding: 6px 10px; margin-bottom: 12px; } p.note, .legend { break-after: avoid; }
      h2 { margin-top: 22px; break-after: avoid; }
      table { font-size: 10px; } th { font-size: 9px; } .cases th, .cases td { padding: 2px 4px; min-width: 0; }
      th:first-child { min-width: 80px; } td.wide { min-width: 90px; } th, td { padding: 4px 6px; }
      .pictures { grid-template-columns: repeat(3, 1fr); gap: 12px; } .notice { border: 1px solid var(--low); }
      tr, .tile, svg { break-inside: avoid; } thead { display: table-header-group; } .scroll { overflow: visible; }
      * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
    }

    """
}
