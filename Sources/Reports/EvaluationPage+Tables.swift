internal import Imaging

extension EvaluationPage {
  private func mean(_ values: [Double]) -> Double {
    let present = values.filter { !$0.isNaN }
    return present.isEmpty ? .nan : present.reduce(0, +) / Double(present.count)
  }

  /// The figures that are looked at first.
  var tiles: String {
    var list = [
      ("\(cases.count)", cases.count == 1 ? "case" : "cases"), ("\(structures.count)", structures.count == 1 ? "structure" : "structures"),
      (HTMLText.number(mean(structures.map(\.dice.mean)), 3), "mean Dice over structures"),
    ]
    if hasSurfaces {
      list.append((HTMLText.number(mean(structures.map(\.surfaceDice.mean)), 3), "mean NSD at \(millimetres)"))
      list.append((HTMLText.number(mean(structures.map(\.hausdorff95.mean)), 2) + " mm", "mean HD95"))
    }
    let items = list.map { "<div class=\"tile\"><b>\($0.0)</b><span>\(HTMLText.escaped($0.1))</span></div>" }
    return "<div class=\"tiles\">\(items.joined())</div>\n"
  }

  private var millimetres: String {
    tolerance == tolerance.rounded() ? HTMLText.number(tolerance, 0) + " mm" : HTMLText.number(tolerance, 2) + " mm"
  }

  var structureTable: String {
    var heads = ["Structure", "Label", "Dice", "n", "Dice, where<br>in reference", "n", "IoU"]
    if hasSurfaces { heads += ["NSD<br>(\(millimetres))", "HD95<br>(mm)", "n"] }
    var rows = ""
    for structure in structures {
      var cells = [swatch(structure.colour) + HTMLText.escaped(structure.name)]
      cells += [cell(structure.dice, 3), "\(structure.dice.count)"]
      cells += [cell(structure.diceWhereReferenced, 3), "\(structure.diceWhereReferenced.count)", cell(structure.iou, 3)]
      if hasSurfaces { cells += [cell(structure.surfaceDice, 3), cell(structure.hausdorff95, 2), "\(structure.hausdorff95.count)"] }
      let rest = cells.dropFirst().map { "<td>\($0)</td>" }.joined()
      rows += "<tr><td>\(cells[0])</td><td class=\"key\">\(HTMLText.escaped(structure.key))</td>\(rest)</tr>\n"
    }
    let head = heads.map { "<th>\($0)</th>" }.joined()
    return "<section><h2>Structures</h2>\n<div class=\"scroll\"><table><thead><tr>\(head)</tr></thead>\n"
      + "<tbody>\(rows)\(totalRow)</tbody></table></div>\n<p class=\"note\">\(structureNote)</p></section>\n"
  }

  private var totalRow: String {
    if structures.count < 2 { return "" }
    func total(_ value: (Structure) -> Summary, _ digits: Int) -> String {
      HTMLText.number(mean(structures.map { value($0).mean }), digits)
    }
    var cells = [total(\.dice, 3), "", total(\.diceWhereReferenced, 3), "", total(\.iou, 3)]
    if hasSurfaces { cells += [total(\.surfaceDice, 3), total(\.hausdorff95, 2), ""] }
    return "<tr class=\"total\"><td>Mean over structures</td><td></td>\(cells.map { "<td>\($0)</td>" }.joined())</tr>\n"
  }

  private var structureNote: String {
    var text =
      "Mean ± standard deviation over cases; n is how many cases count. Dice and IoU follow nnU-Net: a case counts when prediction or "
      + "reference holds the structure. “Where in reference” follows MedDINOv3: only cases whose reference holds it."
    if hasSurfaces {
      text += " NSD counts the same cases, a structure that was missed as 0; HD95 needs it in both."
    }
    return text + " The last row leaves out structures without a value."
  }

  private func swatch(_ colour: Colour) -> String { "<i class=\"swatch\" style=\"background:\(HTMLText.hex(colour))\"></i>" }

  private func cell(_ summary: Summary, _ digits: Int) -> String {
    let deviation = summary.deviation.isNaN ? "" : " <small>± \(HTMLText.number(summary.deviation, digits))</small>"
    return HTMLText.number(summary.mean, digits) + deviation
  }

  /// One row per case with a bar per structure, worst first.
  var caseTable: String {
    let heads = ["Case", "Mean Dice"] + structures.map { HTMLText.breakable($0.name) }
    var rows = ""
    for index in worstFirst {
      let row = cases[index]
      let bars = zip(structures, row.dice).map { bar($1, HTMLText.hex($0.colour)) }.joined()
      rows += "<tr><td>\(HTMLText.escaped(row.name))</td>\(bar(row.meanDice, "var(--bar)"))\(bars)</tr>\n"
    }
    let note = "Lowest mean first. – : neither prediction nor reference holds it."
    return "<section><h2>Dice of every case</h2>\n<p class=\"note\">\(note)</p>\n"
      + "<div class=\"scroll\"><table class=\"cases\"><thead><tr>\(heads.map { "<th>\($0)</th>" }.joined())</tr></thead>\n"
      + "<tbody>\(rows)</tbody></table></div></section>\n"
  }

  private func bar(_ value: Double, _ colour: String) -> String {
    if value.isNaN { return "<td>–</td>" }
    let text = HTMLText.number(value, 3)
    let width = HTMLText.number(min(max(value, 0), 1) * 100, 1)
    let label = value < 0.5 ? "<span class=\"low\">\(text)</span>" : text
    return "<td>\(label)<div><span style=\"width:\(width)%;background:\(colour)\"></span></div></td>"
  }

  var pictureSection: String {
    let figures = pictures.map { picture in
      "<figure><h3>\(HTMLText.escaped(picture.title))</h3>"
        + "<img alt=\"\(HTMLText.escaped(picture.title))\" src=\"data:image/png;base64,\(HTMLText.base64(picture.png))\">"
        + "<figcaption>\(HTMLText.escaped(picture.caption))</figcaption></figure>\n"
    }
    func legend(_ title: String, _ entries: [(name: String, colour: Colour)]) -> String {
      let items = entries.map { "<span>\(swatch($0.colour))\(HTMLText.escaped($0.name))</span>" }
      return "<div class=\"legend\"><b>\(title)</b>\(items.joined())</div>\n"
    }
    return "<section><h2>Worst cases</h2>\n<p class=\"note\">The slice where prediction and reference differ most: reference, prediction, "
      + "and their difference. Seen from below: the patient’s right is on the left.</p>\n"
      + legend("Labels", self.legend) + legend("Difference", ComparisonPicture.marks) + figures.joined() + "</section>\n"
  }

  var warningSection: String {
    let lines = cases.flatMap { row in row.warnings.map { "<li>\(HTMLText.escaped(row.name + ": " + $0))</li>" } }
    return lines.isEmpty ? "" : "<section><h2>Warnings</h2>\n<ul>\(lines.joined(separator: "\n"))</ul></section>\n"
  }

  var settingsTable: String {
    let rows = settings.map { "<tr><td>\(HTMLText.escaped($0.name))</td><td>\(HTMLText.escaped($0.value))</td></tr>\n" }
    return rows.isEmpty
      ? "" : "<section><h2>Settings and provenance</h2>\n<table class=\"settings\"><tbody>\(rows.joined())</tbody></table></section>\n"
  }
}
